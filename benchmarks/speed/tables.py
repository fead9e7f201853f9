"""Markdown tables from speed results. A missed target is bold and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.markdown import table
from benchmarks.speed import targets
from benchmarks.speed.measure import ENGINES
from benchmarks.speed.networks import NETWORKS
from benchmarks.speed.profile import Profile
from benchmarks.speed.results import Cell, NetworkResult, Opened
from benchmarks.speed.targets import RATIO_LIMITS, State, Verdict
from nip_runtime.file.manifest import Policy
from nip_runtime.operate.bench.rounds import Spread
from nip_runtime.run.engine.answers import EngineKind

NONE: Final = "–"
NOT_YET: Final = "not measured yet"

Results = Sequence[NetworkResult]


@dataclass(frozen=True)
class Count:
    """How many of the measured values keep their limits."""

    met: int
    measured: int

    def __str__(self) -> str:
        return f"{self.met} of {self.measured}"


def judged(verdict: Verdict) -> str:
    """A value; bold with the word if it misses its limit."""
    text = f"{verdict.value:.{verdict.digits}f}"
    return text if verdict.met else f"**{text} missed**"


def span(us: float, sign: str = "") -> str:
    """A duration in µs, or in ms where that is easier to read."""
    return f"{us:{sign}.0f} µs" if abs(us) < 1e4 else f"{us / 1e3:{sign}.1f} ms"


def with_interval(spread: Spread, scale: float = 1.0, digits: int = 2) -> str:
    """A median and its 95 % interval."""
    median, low, high = (value / scale for value in (spread.median, spread.low, spread.high))
    return f"{median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def ratio_verdict(cell: Cell) -> Verdict | None:
    """A cell beside its target; None where there is none."""
    limit = RATIO_LIMITS[cell.state].get(cell.batch)
    return None if limit is None else Verdict(cell.ratio.median / cell.state.passes, limit)


def ratio_count(results: Results, engine: EngineKind) -> Count:
    """How many one-thread ratios of an engine keep their targets; AUTO: of the one that it takes."""
    cells = [cell for result in results for cell in result.cells if engine in _engines_of(result, cell)]
    verdicts = [ratio_verdict(cell) for cell in cells if cell.threads == 1]
    known = [verdict for verdict in verdicts if verdict is not None]
    return Count(sum(verdict.met for verdict in known), len(known))


def _engines_of(result: NetworkResult, cell: Cell) -> tuple[EngineKind, ...]:
    """The engines that a cell stands for: its own, and AUTO if that takes it."""
    policy = Policy.ALWAYS if cell.state is State.ALWAYS else Policy.GUARDED
    choice = result.auto.get(policy)
    taken = choice is not None and choice.engine is cell.engine
    return (cell.engine, EngineKind.AUTO) if taken else (cell.engine,)


def ratios(results: Results) -> list[str]:
    """The target table: a row per state and network, fused and gated beside each other."""
    head = ["one CPU thread; fused · gated", *(f"batch {batch}" for batch in targets.BATCHES)]
    rows = []
    for state in State:
        if state is State.BENIGN:
            rows += _benign_rows(results)
            continue
        limits = [RATIO_LIMITS[state].get(batch) for batch in targets.BATCHES]
        rows.append([f"**{state.label}**, target", *(f"≤ {limit:g}" if limit else NONE for limit in limits)])
        rows += [
            [NETWORKS[result.network].title, *(_pair(result, state, batch) for batch in targets.BATCHES)]
            for result in results
        ]
    return table(head, rows)


def _benign_rows(results: Results) -> list[list[str]]:
    """Ordinary traffic, without a target; one line if none of the networks was measured in it."""
    head = [f"**{State.BENIGN.label}**", *([NONE] * len(targets.BATCHES))]
    if not any(cell.state is State.BENIGN for result in results for cell in result.cells):
        return [[head[0], *([NOT_YET] * len(targets.BATCHES))]]
    return [head, *(_benign_row(result) for result in results)]


def _benign_row(result: NetworkResult) -> list[str]:
    title = NETWORKS[result.network].title
    if result.screen_rate is None:
        return [title, *([NOT_YET] * len(targets.BATCHES))]
    cells = []
    for batch in targets.BATCHES:
        found = [_benign_ratio(result, batch, engine, result.screen_rate) for engine in ENGINES]
        shown = [NONE if ratio is None else f"{ratio:.2f}" for ratio in found]
        cells.append(NONE if set(shown) == {NONE} else " · ".join(shown))
    return [f"{title}, {result.screen_rate:.0%} of rows in pass 2", *cells]


def _benign_ratio(result: NetworkResult, batch: int, engine: EngineKind, rate: float) -> float | None:
    """Measured; at batch 1 the mean of a row with a second pass and one without, in that proportion."""
    if State.BENIGN.timed_at(batch):
        cell = result.cell(State.BENIGN, batch, engine)
        return None if cell is None else cell.ratio.median
    once, twice = result.cell(State.CALM, batch, engine), result.cell(State.ALL, batch, engine)
    if once is None or twice is None:
        return None
    return (1 - rate) * once.ratio.median + rate * twice.ratio.median


def _pair(result: NetworkResult, state: State, batch: int) -> str:
    cells = [result.cell(state, batch, engine) for engine in ENGINES]
    verdicts = [None if cell is None else ratio_verdict(cell) for cell in cells]
    shown = [NONE if verdict is None else judged(verdict) for verdict in verdicts]
    return NONE if set(shown) == {NONE} else " · ".join(shown)


def ratios_with_intervals(result: NetworkResult) -> list[str]:
    """All cells of one network: ratio and latency."""
    head = [
        "batch",
        "threads",
        "state",
        "engine",
        "rows in pass 2",
        "ratio to one plain pass",
        "p50 / p95 ms",
    ]
    rows = [
        [
            str(c.batch),
            str(c.threads),
            "plain",
            NONE,
            "0",
            "1",
            f"{c.latency.p50_ms:.2f} / {c.latency.p95_ms:.2f}",
        ]
        for c in result.plain
    ]
    rows += [
        [
            str(cell.batch),
            str(cell.threads),
            LABELS[cell.state],
            cell.engine,
            str(cell.second_pass_rows),
            f"{with_interval(cell.ratio)}, {cell.latency.rounds} rounds",
            f"{cell.latency.p50_ms:.2f} / {cell.latency.p95_ms:.2f}",
        ]
        for cell in result.cells
    ]
    rows.sort(key=lambda row: (int(row[1]), int(row[0])))
    return table(head, rows)


LABELS: Final = {
    State.BENIGN: "`guarded`, ordinary traffic",
    State.ALWAYS: "`always`",
    State.CALM: "`guarded`, none in pass 2",
    State.FEW: "`guarded`, 5 %",
    State.ALL: "`guarded`, all in pass 2",
}


def costs(results: Results) -> list[str]:
    """File size, memory, opening, what predict adds, what the bank costs."""
    head = [
        "",
        "file − bank / plain",
        "bank MB",
        "memory / plain",
        "opening / plain",
        "predict adds µs",
        "bank / pass",
    ]
    limit = [
        "**target**",
        f"≤ {targets.FILE_LIMIT}",
        f"≤ {targets.BANK_LIMIT_BYTES / 1e6:g}",
        f"≤ {targets.MEMORY_LIMIT}",
        f"≤ {targets.CREATION_LIMIT}",
        f"≤ {targets.OVERHEAD_LIMIT_US:g}",
        f"≤ {targets.BANK_PASS_LIMIT} of MobileNetV2",
    ]
    rows = [limit]
    for result in results:
        for policy in (Policy.GUARDED, Policy.ALWAYS):
            guarded = policy is Policy.GUARDED
            rows.append(
                [
                    f"{NETWORKS[result.network].title}, `{policy}`",
                    _file_cell(result, policy),
                    _bank_cell(result, policy),
                    _opened_cell(result, policy, lambda e: Verdict(e.memory_ratio, targets.MEMORY_LIMIT)),
                    _opened_cell(
                        result, policy, lambda e: Verdict(e.opening_ratio.median, targets.CREATION_LIMIT)
                    ),
                    _overhead_cell(result) if guarded else NONE,
                    NONE if guarded else _bank_share_cell(result),
                ]
            )
    return table(head, rows)


def _file_cell(result: NetworkResult, policy: Policy) -> str:
    sizes = result.sizes
    whole, bank = (
        (sizes.guarded, sizes.guarded_bank) if policy is Policy.GUARDED else (sizes.always, sizes.always_bank)
    )
    return judged(Verdict((whole - bank) / sizes.plain, targets.FILE_LIMIT))


def _bank_cell(result: NetworkResult, policy: Policy) -> str:
    bank = result.sizes.guarded_bank if policy is Policy.GUARDED else result.sizes.always_bank
    return judged(Verdict(bank / 1e6, targets.BANK_LIMIT_BYTES / 1e6))


def _opened_cell(result: NetworkResult, policy: Policy, verdict: Callable[[Opened], Verdict]) -> str:
    found = {entry.engine: judged(verdict(entry)) for entry in result.opened if entry.file == policy}
    return " · ".join(found.get(engine, NONE) for engine in ENGINES)


def opened(result: NetworkResult, profiles: Sequence[Profile]) -> list[str]:
    """Memory and opening of every file of one network; what of it is onnxruntime's own, by its profiler."""
    inside = {profile.variant: f"{profile.opening_ms:.1f} in {profile.sessions}" for profile in profiles}
    variants = {Policy.GUARDED: State.ALL, Policy.ALWAYS: State.ALWAYS}
    rows = [
        [
            entry.file if entry.engine is None else f"`{entry.file}`, {entry.engine}",
            f"{entry.added_bytes / 2**20:.1f}",
            f"{entry.memory_ratio:.2f}",
            with_interval(entry.opening_ms, digits=1),
            with_interval(entry.opening_ratio),
            inside.get(
                "plain" if entry.engine is None else f"{entry.engine} {variants[Policy(entry.file)]}", NONE
            ),
        ]
        for entry in result.opened
    ]
    head = ["file", "MiB added by opening", "to plain", "opening ms", "to plain", "profiler: ms in sessions"]
    return table(head, rows)


def _overhead_cell(result: NetworkResult) -> str:
    return judged(Verdict(result.overhead.added_us.median, targets.OVERHEAD_LIMIT_US, digits=0))


def _bank_share_cell(result: NetworkResult) -> str:
    if result.bank_share is None:
        return NONE
    if result.network != "mobilenetv2":
        return f"{result.bank_share.median:.3f}"
    return judged(Verdict(result.bank_share.median, targets.BANK_PASS_LIMIT, digits=3))
