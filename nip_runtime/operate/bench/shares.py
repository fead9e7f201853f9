"""Batches of which exactly so many rows take the second pass.

The screen's cut is moved, in memory, to where it parts a handful of inputs; every batch is then put together
from inputs well below and well above it. Rows of a defended file do not influence each other, so an input
keeps its side of the cut in any company, and repeating an input costs what another one would cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec
from nip_runtime.file.names import RAW_LOGITS, SCREEN_THRESHOLD, SCREENED
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.parts import screen_statistic

LOOKED_AT: Final = 24
"""Inputs that are made, or taken from the user's, to choose from."""

Inputs = NDArray[np.float32]
Open = Callable[[bytes], Any]
"""Opens a serialised model in onnxruntime."""


def random_inputs(spec: InputSpec, rows: int, *, seed: int = 0) -> Inputs:
    """(rows, *shape) float32, uniform within the bounds."""
    low, high = (np.float32(bound) for bound in spec.bounds)
    values = np.random.default_rng(seed).random((rows, *spec.shape), np.float32)
    values *= high - low
    values += low
    np.clip(values, low, high, out=values)  # rounding may carry one past the end
    return values


def rows_of(share: float, batch: int) -> int:
    """Rows of a batch that ``share`` in [0, 1] stands for: at least 1 unless it is 0."""
    return max(round(share * batch), 1) if share > 0 else 0


@dataclass(frozen=True, eq=False)
class Look:
    """What pass 1 of the file says of some inputs.

    Attributes:
        inputs: (n, *shape) float32.
        raw_logits: (n, C) float32.
        statistic: (n,) float32, what the screen looks at.
    """

    inputs: Inputs
    raw_logits: NDArray[np.float32]
    statistic: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Inputs from which batches are put together.

    Attributes:
        calm: (n, *shape) float32 that do not take the second pass.
        screened: (m, *shape) float32 that do. Without a screen these are all inputs, and none is calm.
        threshold: the screen's cut that parts them, None without a screen.
    """

    calm: Inputs
    screened: Inputs
    threshold: np.float32 | None

    def batch(self, rows: int, second_pass_rows: int) -> Inputs:
        """(rows, *shape) float32 of which ``second_pass_rows`` take the second pass, spread evenly.

        Raises:
            InputError: if there can be no such batch.
        """
        least = rows if self.threshold is None else 0
        if not least <= second_pass_rows <= rows:
            raise InputError.mismatch(
                expected=f"{least} to {rows} rows in the second pass of {rows}",
                got=str(second_pass_rows),
                fix="ask for another share",
            )
        places = np.floor((np.arange(second_pass_rows) + 0.5) * rows / max(second_pass_rows, 1)).astype(int)
        is_screened = np.zeros(rows, np.bool_)
        is_screened[places] = True
        made = np.empty((rows, *self.screened.shape[1:]), np.float32)
        for chosen, source in ((is_screened, self.screened), (~is_screened, self.calm)):
            if chosen.any():
                made[chosen] = source[np.arange(np.count_nonzero(chosen)) % len(source)]
        return made


def look(model: Sliceable, open_bytes: Open, input_name: str, inputs: Inputs) -> Look:
    """Run pass 1 over ``inputs``, as far as the screen."""
    outputs = [RAW_LOGITS, screen_statistic(model)]
    session = open_bytes(model.part([input_name], outputs))
    raw_logits, statistic = session.run(outputs, {input_name: inputs})
    return Look(inputs, raw_logits, statistic.reshape(len(inputs)))


def part_by_screen(found: Look) -> Mixture:
    """Choose a cut, the third of the inputs furthest below it, and the third furthest above.

    Raises:
        InputError: if the inputs do not differ in what the screen looks at.
    """
    order = np.argsort(found.statistic, kind="stable")
    third = max(len(order) // 3, 1)
    calm, screened = order[:third], order[-third:]
    low, high = found.statistic[calm[-1]], found.statistic[screened[0]]
    threshold = np.float32((float(low) + float(high)) / 2)
    if not low < threshold < high:
        raise InputError.mismatch(
            expected="inputs that the screen can tell apart",
            got=f"{len(order)} with a statistic from {float(low):.6g} to {float(high):.6g}",
            fix="give other inputs with --data, or leave it out for random ones",
        )
    return Mixture(found.inputs[calm], found.inputs[screened], threshold)


def move_screen(model: Sliceable, open_bytes: Open, input_name: str, mixture: Mixture) -> Sliceable:
    """The file with its screen moved to the mixture's cut, having seen that it parts the inputs as it should.

    Raises:
        InputError: if it does not.
    """
    moved = Sliceable(model.with_constant(SCREEN_THRESHOLD, np.array(mixture.threshold, np.float32)))
    session = open_bytes(moved.part([input_name], [SCREENED]))
    inputs = np.concatenate([mixture.calm, mixture.screened])
    (taken,) = session.run([SCREENED], {input_name: inputs})
    wanted = np.arange(len(inputs)) >= len(mixture.calm)
    if not np.array_equal(taken.reshape(-1), wanted):
        raise InputError.mismatch(
            expected=f"{len(mixture.screened)} of {len(inputs)} inputs in the second pass",
            got=f"{np.count_nonzero(taken)}, or others",
            fix="give other inputs with --data",
        )
    return moved
