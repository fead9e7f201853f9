"""Times the plain model and the engines side by side, one batch size after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nip_runtime.operate.bench.plan import BenchPlan
from nip_runtime.operate.bench.report import Contender, Timed
from nip_runtime.operate.bench.rounds import WARM_UP, latency, paired, ratio, rounds_within
from nip_runtime.operate.bench.subject import Subject
from nip_runtime.run.engine.answers import Engine

LEAST_ROUNDS: Final = 5
MOST_ROUNDS: Final = 1000
_LONG_ROUND_S: Final = 1.0
"""From here on one round of warm-up is enough."""
_VERY_LONG_ROUND_S: Final = 10.0
_LEAST_VERY_LONG: Final = 3

Advance = Callable[[int], None]
"""Called with the amount of work done since the last call."""

Progress = Callable[[str, int], Advance]
"""Called at the start of a stage with its title and amount of work; gives the stage's ``Advance``."""


@dataclass(frozen=True, eq=False)
class Lane:
    """One contender on one batch."""

    contender: Contender
    second_pass_rows: int
    run: Callable[[], object]

    @property
    def name(self) -> str:
        """Different for each lane of a batch size."""
        return f"{self.contender} {self.second_pass_rows}"


def time_all(
    subject: Subject, engines: Mapping[Contender, Engine[Any]], plan: BenchPlan, progress: Progress
) -> Iterator[Timed]:
    """Time every batch size of the plan.

    What one leaves of its share of the time goes to those after it; what one takes beyond it, on a machine
    that others slow down, does not come from theirs.
    """
    left_s, share_s = plan.seconds, plan.seconds / len(plan.batches)
    for index, batch in enumerate(plan.batches):
        start = time.monotonic()
        budget_s = max(left_s / (len(plan.batches) - index), share_s)
        yield from _time_batch(
            lanes_of(subject, engines, batch, plan.shares), batch, plan, budget_s, progress
        )
        left_s -= time.monotonic() - start


def lanes_of(
    subject: Subject, engines: Mapping[Contender, Engine[Any]], batch: int, shares: tuple[float, ...] | None
) -> list[Lane]:
    """The plain model, then every engine with every number of rows in the second pass."""
    rows = subject.second_pass_rows(batch, shares)
    inputs = {count: subject.mixture.batch(batch, count) for count in rows}
    lanes = [Lane(Contender.PLAIN, 0, subject.run_plain(inputs[rows[0]]))]
    for contender, engine in engines.items():
        lanes += [Lane(contender, count, subject.run_engine(engine, inputs[count])) for count in rows]
    return lanes


def _time_batch(
    lanes: list[Lane], batch: int, plan: BenchPlan, budget_s: float, progress: Progress
) -> Iterator[Timed]:
    cases = {lane.name: lane.run for lane in lanes}
    round_s = _warm(cases)
    least = LEAST_ROUNDS if round_s < _VERY_LONG_ROUND_S else _LEAST_VERY_LONG
    rounds = plan.rounds or rounds_within(budget_s, round_s, least=least, most=MOST_ROUNDS)
    times = paired(cases, rounds=rounds, warmup=0, advance=progress(f"timing batch {batch}", rounds))
    base = times[lanes[0].name]
    for lane in lanes:
        own = times[lane.name]
        yield Timed.of(
            lane.contender,
            batch=batch,
            second_pass_rows=lane.second_pass_rows,
            latency=latency(own),
            ratio=None if lane.contender is Contender.PLAIN else ratio(own, base),
        )


def _warm(cases: Mapping[str, Callable[[], object]]) -> float:
    """Run some rounds that do not count, one if they are long. Returns how long one takes, in seconds.

    That is the shortest of them: the first is slow, and an interruption must not cost the others.
    """
    shortest_s = math.inf
    for _ in range(WARM_UP):
        times = paired(cases, rounds=1, warmup=0)
        shortest_s = min(shortest_s, float(sum(values[0] for values in times.values())))
        if shortest_s > _LONG_ROUND_S:
            break
    return shortest_s
