"""What an engine answered against what it must: labels, flags, logits, suspicion, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.case import Case
from nip_export.verify.tolerance import size_of

Parts = Sequence[Mapping[str, NDArray[Any]]]
"""Outputs by name, one mapping per batch."""
_KINDS: Final = ("float32", "float32", "float32", "bool", "int64")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the comparison of one file at one batch size found.

    Attributes:
        rows: compared.
        on_edge: left out, for they lie on a cut.
        labels: rows with another label.
        flags: rows with another flag.
        logit_error: largest error of any logit over what is allowed; at most 1 is as it should be.
        suspicion_error: largest error of suspicion.
        problem: what is wrong, in words; "" if nothing is.
    """

    rows: int
    on_edge: int
    labels: int
    flags: int
    logit_error: float
    suspicion_error: float
    problem: str = ""


def compare(case: Case, batch: int, parts: Parts) -> Verdict:
    """Compare one engine's answers with a case's.

    Args:
        case: what should come out.
        batch: rows per batch; the last batch has what is left.
        parts: what came out, in order.
    """
    strange = _strange(case, batch, parts)
    if strange:
        return failed(case, strange)
    logits, raw, suspicion, flagged, _ = (
        np.concatenate([part[name] for part in parts]) for name in case.outputs
    )
    rows = ~case.on_edge
    labels = int((logits.argmax(1) != case.logits.argmax(1))[rows].sum())
    flags = int((flagged != case.flagged)[rows].sum())
    error = max(
        _share(raw, case.raw_logits, rows, np.full(len(rows), size_of(case.raw_logits)), case),
        _share(logits, case.logits, rows, _sizes(case), case),
    )
    gap = float(np.abs(suspicion - case.suspicion)[rows].max(initial=0.0))
    problems = []
    if labels or flags:
        problems.append(f"{labels} labels and {flags} flags of {int(rows.sum())} rows differ")
    if not error <= 1:
        problems.append(f"a logit is off by {error:.3g} × what is allowed")
    if not gap <= case.tolerance.suspicion:
        problems.append(f"suspicion is off by {gap:.3g}")
    return Verdict(
        rows=int(rows.sum()),
        on_edge=int(case.on_edge.sum()),
        labels=labels,
        flags=flags,
        logit_error=error,
        suspicion_error=gap,
        problem="; ".join(problems),
    )


def failed(case: Case, problem: str) -> Verdict:
    """The verdict on answers that there are none of, or that cannot be compared."""
    nothing = float("inf")
    return Verdict(
        rows=int((~case.on_edge).sum()),
        on_edge=int(case.on_edge.sum()),
        labels=len(case.inputs),
        flags=len(case.inputs),
        logit_error=nothing,
        suspicion_error=nothing,
        problem=problem,
    )


def _sizes(case: Case) -> NDArray[np.float64]:
    """The scale (N,) that the defended logits' tolerance is a share of; larger in corrected rows."""
    size = size_of(case.logits)
    corrected = max(size, case.gain * size_of(case.raw_logits))
    return np.where(case.flagged, corrected, size)


def _share(
    found: NDArray[Any],
    expected: NDArray[np.float32],
    rows: NDArray[np.bool_],
    sizes: NDArray[np.float64],
    case: Case,
) -> float:
    error = np.abs(found.astype(np.float64) - expected).max(1) / (case.tolerance.logits * sizes)
    return float(error[rows].max(initial=0.0)) if np.isfinite(error[rows]).all() else float("inf")


def _strange(case: Case, batch: int, parts: Parts) -> str:
    """The first output of another shape or dtype than the graph states; "" if there is none."""
    count, classes = case.logits.shape
    starts = range(0, count, batch)
    if len(parts) != len(starts):
        return f"{len(parts)} batches of {len(starts)} were answered"
    for start, part in zip(starts, parts, strict=True):
        size = min(batch, count - start)
        for index, (name, kind) in enumerate(zip(case.outputs, _KINDS, strict=True)):
            wanted = (size, classes) if index < 2 else (size,)
            got = part[name]
            if (str(got.dtype), got.shape) != (kind, wanted):
                return f"{name} is {got.dtype} {got.shape}, not {kind} {wanted}"
    return ""
