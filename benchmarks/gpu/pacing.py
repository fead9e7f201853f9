"""Paired rounds within a budget of seconds, around cases of which some may not work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.results import Book, Missing
from nip_runtime.operate.bench.rounds import paired, rounds_within

MOST_ROUNDS: Final = 200
Cases = Mapping[str, Callable[[], object]]


def working(cases: Cases, book: Book, what: str) -> Cases:
    """Those of the cases that run, each having run once; of the others the book is told why."""
    found = {}
    for name, case in cases.items():
        try:
            case()
        except Exception as error:  # whatever a GPU may raise: the other cases are to be timed
            book.add(Missing(what=f"{what}, {name}", why=f"{type(error).__name__}: {error}"))
        else:
            found[name] = case
    return found


def timed(cases: Cases, *, seconds: float, least: int) -> Mapping[str, NDArray[np.float64]]:
    """Paired times, (rounds,) seconds, of as many rounds as fit, after one that tells how long they take."""
    if not cases:
        return {}
    first = paired(cases, rounds=1, warmup=0)
    round_s = float(sum(times[0] for times in first.values()))
    return paired(cases, rounds=rounds_within(seconds, round_s, least=least, most=MOST_ROUNDS), warmup=0)
