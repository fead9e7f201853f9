"""One wrong or odd input, the answer that is defined for it, and how to see whether it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec
from nip_runtime.inputs.arrays import OnBadRow
from nip_runtime.result import Prediction, Reason
from nip_runtime.session import DefendedSession

MAX_BATCH = 16
"""Of the session that is asked, so that some cases are more than one run."""
_ROWS = tuple(name for name in (one.name for one in fields(Prediction)) if name != "refused")


@dataclass(frozen=True, kw_only=True)
class Case:
    """An argument of ``predict`` and its answer.

    Attributes:
        name: says what is wrong or odd.
        build: makes the argument for a model with this input; may write files into the folder.
        error: words of the InputError if no row of it can be answered; "" if rows can.
        bad: rows that are refused, each with words of the reason.
        plain: makes a plain array of the same values, whose answers its good rows must get bit for bit.
        module: a package that ``build`` needs.
    """

    name: str
    build: Callable[[InputSpec, Path], object]
    error: str = ""
    bad: Mapping[int, str] = field(default_factory=dict)
    plain: Callable[[InputSpec], NDArray[Any]] | None = None
    module: str = ""


def plain_floats(spec: InputSpec, rows: int = 6) -> NDArray[np.float32]:
    """(rows, *shape) float32 in 256ths of the bounds, both of which occur."""
    low, high = spec.bounds
    values = np.random.default_rng(rows).integers(0, 256, (rows, *spec.shape)) / 255
    values.reshape(-1)[:2] = [0, 1][: values.size]
    floats: NDArray[np.float32] = (low + values * (high - low)).astype(np.float32)
    return floats


def plain_pixels(spec: InputSpec, rows: int = 6) -> NDArray[np.uint8]:
    """(rows, H, W, C) uint8."""
    channels, height, width = spec.shape
    return np.random.default_rng(rows).integers(0, 256, (rows, height, width, channels), np.uint8)


def complaint(session: DefendedSession, case: Case, folder: Path) -> str | None:
    """Ask for both ways to treat bad rows; says what was not as defined, None if all was."""
    spec = session.manifest.input
    for way in OnBadRow:
        images = case.build(spec, folder)
        try:
            prediction = session.predict(images, on_bad_row=way)
        except InputError as error:
            expected = case.error or (next(iter(case.bad.values()), "") if way is OnBadRow.RAISE else "")
            if not expected or expected not in str(error) or "\n" in str(error):
                return f"{way}: {error}"
        except BaseException as error:  # whatever it is: nothing else is defined
            return f"{way}: {type(error).__name__}: {error}"
        else:
            if case.error or (case.bad and way is OnBadRow.RAISE):
                return f"{way}: answered {len(prediction)} rows"
            wrong = _wrong(prediction, case, session)
            if wrong is not None:
                return f"{way}: {wrong}"
    return None


def _wrong(prediction: Prediction, case: Case, session: DefendedSession) -> str | None:
    if case.plain is None:
        return "the case names no plain array"
    plain = case.plain(session.manifest.input)
    if len(prediction) != len(plain):
        return f"{len(prediction)} rows for {len(plain)}"
    told = {refused.row: refused.why for refused in prediction.refused}
    if told.keys() != case.bad.keys() or not all(case.bad[row] in why for row, why in told.items()):
        return f"refused {told}"
    for row in told:
        fate = (
            prediction.labels[row] == prediction.raw_labels[row] == prediction.candidate[row] == -1
            and np.isnan(prediction.logits[row]).all()
            and np.isnan(prediction.raw_logits[row]).all()
            and np.isnan(prediction.suspicion[row])
            and bool(prediction.flagged[row])
            and prediction.reason[row] is Reason.REFUSED
        )
        if not fate:
            return f"row {row} is refused and looks answered"
    good = [row for row in range(len(plain)) if row not in told]
    alone = session.predict(np.ascontiguousarray(plain[good]))
    return difference(prediction, alone, good)


def difference(prediction: Prediction, alone: Prediction, rows: list[int]) -> str | None:
    """Which column of these rows is not bit for bit the one of ``alone``."""
    for name in _ROWS:
        dtype = "U9" if name == "reason" else None
        mine, theirs = (np.asarray(getattr(one, name), dtype) for one in (prediction, alone))
        mine = mine[rows]
        if mine.dtype != theirs.dtype or mine.tobytes() != theirs.tobytes():
            return f"{name} differs from what the good rows get alone"
    return None
