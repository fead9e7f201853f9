"""The defence itself with one part exchanged: what each part is worth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nip_evaluate.terms.answers import Answers, Defence, GateView, twin_view
from nip_evaluate.terms.threats import Images
from nip_export.calibrate import Calibration, weighted
from nip_export.defence.spec import Bank, ClassScale, DefenceSpec, Gate
from nip_export.defence.views import View
from nip_export.fit.bench import Bench
from nip_export.fit.profiles import InfluenceProfile
from nip_export.network import evaluation_mode
from nip_export.verify import DefendedTwin
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy, ViewStep


class VariantKind(StrEnum):
    """What is exchanged; all else, calibration included, is the defence's own."""

    FILE = "this file"
    EVERY_ROW = "all rows take both passes"
    RHO_ALONE = "rho in place of the view"
    WITH_RHO = "same view with rho"
    WITHOUT_RHO = "same view without rho"
    MINUS_RHO = "same view with minus rho"
    RANDOM_PATTERN = "same view with a random pattern"
    SHUFFLED_PROFILES = "same view with rho of shuffled profiles"
    MIRROR = "mirror as the view"
    MEDIAN = "median 3×3 as the view"
    BITS = "two bits as the view"
    ROUND_TRIP = "JPEG alone as the view"
    NO_ROUND_TRIP = "same view without JPEG"
    NO_GRAIN = "screen without grain"
    NO_DISAGREEMENT = "without disagreement"
    NO_TYPICALITY = "without typicality"
    NO_RESPONSE = "without response: one pass"
    NO_CHANGE = "without change"
    EARLY_ALONE = "disagreement alone"
    TYPICALITY_ALONE = "typicality alone"
    RESPONSE_ALONE = "response alone"
    ALWAYS = "always"

    @property
    def description(self) -> str:
        """One sentence for readers of a table."""
        return DESCRIPTIONS[self]

    @property
    def passes(self) -> float:
        """Network passes of a flagged image; of every image where there are no flags."""
        return 1 if self in ONE_PASS else 2

    def change(self, gate: Gate) -> Gate:
        """A gate with the tests silenced that this variant leaves out."""
        if self is VariantKind.NO_GRAIN:
            return replace(gate, grain_tail=None)
        silenced: dict[str, Any] = {
            f"{test}_tail": weighted(getattr(gate, f"{test}_tail"), 0) for test in SILENCED.get(self, ())
        }
        if self in ONE_PASS:  # what there is no second pass of must not name the answer either
            scale = gate.response_scale
            silenced["response_scale"] = ClassScale(
                np.zeros_like(scale.mean), np.zeros_like(scale.inverse_std)
            )
        return replace(gate, **silenced)


DESCRIPTIONS = {
    VariantKind.FILE: "the defence as exported, with its own read-outs, view and inverse perturbation",
    VariantKind.EVERY_ROW: "no screen: every image takes the second pass",
    VariantKind.RHO_ALONE: "the second pass sees the image itself under ρ, as in the first release",
    VariantKind.WITH_RHO: "the file's view with ρ on top, whether or not the file adds it",
    VariantKind.WITHOUT_RHO: "the file's view with nothing added",
    VariantKind.MINUS_RHO: "the file's view with −ρ on top",
    VariantKind.RANDOM_PATTERN: "the file's view with random signs of ρ's magnitudes on top, so equal in "
    "every norm (before the sum is kept within the input's bounds)",
    VariantKind.SHUFFLED_PROFILES: "the file's view with a ρ made in the same way from influence profiles "
    "whose neurons were permuted at random, each class for itself",
    VariantKind.MIRROR: "a mirrored second pass under the file's own gate, refitted to it",
    VariantKind.MEDIAN: "a 3×3 median as the second pass under the file's own gate, refitted to it",
    VariantKind.BITS: "two bits per value as the second pass under the file's own gate, refitted to it",
    VariantKind.ROUND_TRIP: "the file's round trip through JPEG as the second pass, and nothing else, under "
    "the file's own gate, refitted to it: whatever was not stored so moves, attacked or not",
    VariantKind.NO_ROUND_TRIP: "the file's view without the round trip through JPEG: what is left where "
    "images were not stored as JPEG at the network's size",
    VariantKind.NO_GRAIN: "the screen looks at disagreement and typicality alone",
    VariantKind.NO_DISAGREEMENT: "early read-outs neither screen nor flag; they still help to answer",
    VariantKind.NO_TYPICALITY: "the features' distance neither screens nor flags",
    VariantKind.NO_RESPONSE: "no second pass: the free tests flag, the early read-outs answer",
    VariantKind.NO_CHANGE: "the change of class probabilities does not count",
    VariantKind.EARLY_ALONE: "no second pass: the disagreement of the early read-outs alone flags, and they "
    "alone correct",
    VariantKind.TYPICALITY_ALONE: "no second pass: the features' distance alone flags, the early read-outs "
    "correct",
    VariantKind.RESPONSE_ALONE: "no screen: the largest shift and the change alone flag",
    VariantKind.ALWAYS: "every image is answered under the ρ of the class the early read-outs believe in",
}
RESPONSE = ("response", "change")
SILENCED: dict[VariantKind, tuple[str, ...]] = {
    VariantKind.NO_DISAGREEMENT: ("disagreement",),
    VariantKind.NO_TYPICALITY: ("typicality",),
    VariantKind.NO_RESPONSE: RESPONSE,
    VariantKind.NO_CHANGE: ("change",),
    VariantKind.EARLY_ALONE: ("typicality", *RESPONSE),
    VariantKind.TYPICALITY_ALONE: ("disagreement", *RESPONSE),
    VariantKind.RESPONSE_ALONE: ("disagreement", "typicality"),
}
"""Tests that a variant leaves out."""
ONE_PASS = (VariantKind.NO_RESPONSE, VariantKind.EARLY_ALONE, VariantKind.TYPICALITY_ALONE)
VIEWS: dict[VariantKind, View] = {
    VariantKind.RHO_ALONE: (),
    VariantKind.MIRROR: (ViewStep.MIRROR,),
    VariantKind.MEDIAN: (ViewStep.MEDIAN,),
    VariantKind.BITS: (ViewStep.BITS,),
}
"""Views in place of the file's."""
PARTS_OF_VIEWS = (VariantKind.ROUND_TRIP, VariantKind.NO_ROUND_TRIP)
"""Variants whose view is a part of the file's."""
BANKS = (
    VariantKind.WITH_RHO,
    VariantKind.WITHOUT_RHO,
    VariantKind.MINUS_RHO,
    VariantKind.RANDOM_PATTERN,
    VariantKind.SHUFFLED_PROFILES,
    VariantKind.ALWAYS,
)
"""Variants that add something else than the file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant:
    """A variant at one benign budget.

    Attributes:
        kind: what is exchanged.
        name: as tables print it.
        description: one sentence.
        passes: network passes per flagged image, or per image without flags.
        budget: benign budget that the gate was cut at.
        spec: the whole variant as numbers.
        twin: it as a torch module, sharing the network.
        calibration: what cross-validation says of it.
    """

    kind: VariantKind
    name: str
    description: str
    passes: float
    budget: float
    spec: DefenceSpec
    twin: DefendedTwin
    calibration: Calibration


def random_signs(bank: Bank, seed: int) -> Bank:
    """A bank of the same magnitudes with random signs: as long as the given one in every norm."""
    signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), size=bank.steps.shape)
    return replace(bank, steps=(bank.steps * signs).astype(np.int8))


def shuffled(profile: InfluenceProfile, seed: int) -> InfluenceProfile:
    """A profile whose neurons were permuted, each class for itself: the same influences, on wrong neurons."""
    return replace(profile, influence=np.random.default_rng(seed).permuted(profile.influence, axis=1))


def check_fits(given: DefenceSpec, bench: Bench) -> None:
    """Refuse a defence that was made for another network, other layers or another pooling.

    Raises:
        ExportError: its classes, input shape or read-outs are not those of the network on the bench.
    """
    if given.classes != bench.classes or given.bank.shape != bench.shape:
        raise ExportError(
            f"expected a defence for inputs {bench.shape} and {bench.classes} classes, as the model has, got "
            f"one for {given.bank.shape} and {given.classes}; pass the model that the file was exported from"
        )
    widths = {name: values.shape[1] for name, values in bench.calibration_pass.pooled.items()}
    for readout in given.readouts:
        if widths.get(readout.tap) != len(readout.weight):
            raise ExportError(
                f"expected a tapped layer {readout.tap!r} pooled to {len(readout.weight)} values, as the "
                f"file's read-out takes, got {widths.get(readout.tap, 'no such layer')}; pass the settings "
                "(taps, cells) that the file was exported with"
            )


def variant_view(variant: Variant, images: Images, *, batch_size: int = 250) -> GateView:
    """Answers of a gated variant to images (N, *shape) at every threshold."""
    return twin_view(variant.twin, images, batch_size=batch_size)


def variant_answers(variant: Variant, images: Images, *, batch_size: int = 250) -> Answers:
    """Answers of a variant to images (N, *shape) float32 in [0, 1], computed in batches."""
    twin, device = variant.twin, variant.twin.bank.device
    columns: list[tuple[NDArray[np.float32], ...]] = []
    with evaluation_mode(twin), torch.no_grad():
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size]))
            out = twin(batch.to(device))
            wanted = (out.logits.argmax(1), out.raw_logits.argmax(1), out.flagged, out.suspicion)
            columns.append(tuple(tensor.cpu().numpy() for tensor in wanted))
    labels, raw, flagged, suspicion = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return Answers(
        labels.astype(np.int64),
        raw.astype(np.int64),
        None if variant.spec.policy is Policy.ALWAYS else flagged.astype(bool),
        suspicion.astype(np.float32),
    )


def variant_defence(variant: Variant, *, batch_size: int = 250) -> Defence:
    """A variant as a defence to compare."""

    def answer(images: Images) -> Answers:
        return variant_answers(variant, images, batch_size=batch_size)

    return Defence(name=variant.name, description=variant.description, passes=variant.passes, answer=answer)
