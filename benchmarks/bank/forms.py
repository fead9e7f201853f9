"""The forms in which a defence's tables can be stored, and what is made of each: benign images alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nip_evaluate.baselines import Variant, VariantKind
from nip_export.defence.spec import Bank, DefenceSpec, ReadOut
from nip_export.fit.bench import Bench
from nip_export.fit.perturbations import quantise
from nip_export.fit.profiles import in_steps
from nip_export.pipeline import Prepared, calibrate_gate, inverse_perturbations, second_pass
from nip_export.verify import DefendedTwin
from nip_runtime.file.manifest import Policy


@dataclass(frozen=True, eq=False)
class FloatBank(Bank):
    """Perturbations that nothing was rounded off: what stored ones are compared with, never in a file.

    Attributes:
        values: (rows, *shape) float32.
    """

    values: NDArray[np.float32]

    @property
    def size_bytes(self) -> int:
        """Bytes of the values."""
        return int(self.values.nbytes)

    def dense(self) -> NDArray[np.float32]:
        """The values."""
        return self.values


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way to store.

    Attributes:
        name: as tables print it.
        bank: what the perturbations are stored as.
        factor: input rows and columns that one stored value covers.
        readouts: what the read-outs' weights are stored as.
        other_seed: the ascent sees other batches: how much of a difference is chance of the ascent.
    """

    name: str
    bank: Literal["float32", "int8"] = "int8"
    factor: int = 1
    readouts: Literal["float32", "int8"] = "float32"
    other_seed: bool = False


REFERENCE = Form(name="float32, every pixel", bank="float32")
FORMS = (
    REFERENCE,
    Form(name="int8, every pixel"),
    Form(name="int8, 2 × 2 pixels", factor=2),
    Form(name="int8, 4 × 4 pixels", factor=4),
    Form(name="int8, 8 × 8 pixels", factor=8),
    Form(name="float32, every pixel, another ascent", bank="float32", other_seed=True),
)
READOUT_FORM = Form(name="float32, every pixel; read-out weights int8", bank="float32", readouts="int8")


def find_perturbations(bench: Bench, prepared: Prepared, form: Form) -> Tensor:
    """The inverse perturbations of the policy on the bench, on the grid they are stored on."""
    if form.other_seed:
        bench = replace(bench, config=replace(bench.config, seed=bench.config.seed + 1))
    return inverse_perturbations(bench, prepared.profiles[bench.plan.features], factor=form.factor)


def make_bank(bench: Bench, form: Form, found: Tensor) -> Bank:
    """What the form stores of perturbations (rows, *coarse)."""
    stored = quantise(found, eps=bench.config.eps, shape=bench.shape, factor=form.factor)
    if form.bank == "int8":
        return stored
    values = np.ascontiguousarray(found.numpy().astype(np.float32))
    return FloatBank(stored.steps, stored.step_size, stored.factor, stored.shape, values)


def make_readouts(bench: Bench, readouts: Sequence[ReadOut], form: Form) -> tuple[ReadOut, ...]:
    """The read-outs as the form stores them."""
    if form.readouts == "float32":
        return tuple(readouts)
    return tuple(in_steps(readout, bench.profile_pass.pooled[readout.tap].mean(0)) for readout in readouts)


def make_variant(prepared: Prepared, policy: Policy, form: Form, bank: Bank) -> Variant:
    """The whole defence with tables stored in a form, its gate calibrated anew at the same benign budget.

    It adds the bank, also where the export would have added nothing to the view.
    """
    bench = replace(prepared.bench, config=replace(prepared.bench.config, policy=policy))
    known = replace(prepared.known, readouts=make_readouts(bench, prepared.known.readouts, form))
    view = () if policy is Policy.ALWAYS else prepared.view
    calibration = calibrate_gate(bench, known, second_pass(bench, known, view, bank))
    spec = DefenceSpec(
        policy=policy,
        classes=bench.classes,
        bounds=bench.bounds,
        readouts=known.readouts,
        typicality=known.typicality,
        gate=calibration.gate,
        view=view,
        bank=bank,
    )
    return Variant(
        kind=VariantKind.FILE,
        name=form.name,
        description=f"policy {policy}, tables stored as: {form.name}",
        passes=2,
        budget=bench.config.benign_budget,
        spec=spec,
        twin=DefendedTwin(bench.network, spec).to(bench.device),
        calibration=calibration,
    )
