"""Measured rows beside the targets of the design: what is missed."""

from __future__ import annotations

from benchmarks.gpu.results import Rival, Timed
from benchmarks.speed.targets import RATIO_LIMITS, TWIN_AIM, Verdict

TIMED_SOURCE = "host"
"""The targets are for whole answers, from the host's arrays to the host's."""


def ratio_verdict(row: Timed) -> Verdict | None:
    """A ratio to one plain pass beside its target; None where there is none."""
    limit = None if row.state is None else RATIO_LIMITS[row.state].get(row.batch)
    if limit is None or row.state is None or row.source != TIMED_SOURCE:
        return None
    return Verdict(row.ratio.median / row.state.passes, limit)


def rival_verdict(row: Rival) -> Verdict | None:
    """How many times faster the file is than the eager twin, every row in both passes, beside the aim."""
    if row.kind != "eager":
        return None
    return Verdict(row.to_all.median, TWIN_AIM, at_least=True, digits=1)


def missed(row: Timed) -> bool:
    """Whether a row misses its target."""
    verdict = ratio_verdict(row)
    return verdict is not None and not verdict.met
