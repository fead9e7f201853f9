"""Markdown tables of what one would pick instead of the file. A missed aim is bold and says so."""

from __future__ import annotations

from typing import Final

from benchmarks.markdown import table
from benchmarks.speed import targets
from benchmarks.speed.contenders import ABOUT, Kind
from benchmarks.speed.networks import NETWORKS
from benchmarks.speed.results import NetworkResult, Rival
from benchmarks.speed.tables import LABELS, NONE, Results, judged, with_interval
from benchmarks.speed.targets import State, Verdict
from nip_runtime.file.manifest import Policy

AIMS: Final = {
    Kind.EAGER_TWIN: targets.TWIN_AIM,
    Kind.ANTI_ADVERSARY: targets.GRADIENT_AIM,
    Kind.ONE_IMAGE: targets.GRADIENT_AIM,
}
"""How many times faster the file was to be than these."""
RIVAL_STATES: Final = (State.CALM, State.ALL, State.ALWAYS)


def rivals(results: Results, batch: int) -> list[str]:
    """How many times faster the file is: with no row in pass 2 · with every row in both passes."""
    head = [f"batch {batch}: file faster by", "aim", *(NETWORKS[result.network].title for result in results)]
    keys = list(dict.fromkeys((r.kind, r.policy) for result in results for r in result.rivals))
    rows = []
    for kind, policy in keys:
        cells = [_rival_cell(result, kind, policy, batch) for result in results]
        if set(cells) == {NONE}:
            continue
        name = ABOUT[kind].title + (f" (`{policy}`)" if policy is not None else "")
        rows.append([name, f"≥ {AIMS[kind]:g}" if kind in AIMS else NONE, *cells])
    return table(head, rows)


def _rival_cell(result: NetworkResult, kind: Kind, policy: Policy | None, batch: int) -> str:
    for rival in result.rivals:
        if (rival.kind, rival.policy, rival.batch) == (kind, policy, batch):
            states = [State.ALWAYS] if policy is Policy.ALWAYS else [State.CALM, State.ALL]
            return " · ".join(_speedup(rival, state) for state in states)
    return NONE


def _speedup(rival: Rival, state: State) -> str:
    value = rival.speedup[state].median
    if rival.kind not in AIMS:
        return f"{value:.1f}"
    return judged(Verdict(value, AIMS[rival.kind], at_least=True, digits=1))


def rival_details(result: NetworkResult) -> list[str]:
    """All contenders of one network with intervals."""
    head = ["contender", "batch", "p50 ms", "plain passes", *(f"against {LABELS[s]}" for s in RIVAL_STATES)]
    rows = [
        [
            ABOUT[rival.kind].title + (f" (`{rival.policy}`)" if rival.policy is not None else ""),
            str(rival.batch),
            f"{rival.latency.p50_ms:.1f}",
            with_interval(rival.to_plain, digits=1),
            *(
                with_interval(rival.speedup[s], digits=1) if s in rival.speedup else NONE
                for s in RIVAL_STATES
            ),
        ]
        for rival in result.rivals
    ]
    return table(head, rows)


def missed_aims(result: NetworkResult) -> list[str]:
    """One line per contender whose aim is missed where the file takes both passes for every row, with what
    two plain passes and no defence at all would reach."""
    lines = []
    for rival in result.rivals:
        state = State.ALL if rival.policy is Policy.GUARDED else State.ALWAYS
        if rival.kind not in AIMS or state not in rival.speedup:
            continue
        verdict = Verdict(rival.speedup[state].median, AIMS[rival.kind], at_least=True, digits=1)
        if not verdict.met:
            lines.append(
                f"- {ABOUT[rival.kind].title}, batch {rival.batch}, against {LABELS[state]}: "
                f"{verdict.value:.1f} instead of {verdict.limit:g}. It takes as long as "
                f"{rival.to_plain.median:.1f} plain onnxruntime passes, so two of these without any defence "
                f"would be {rival.to_plain.median / 2:.1f} times as fast as it."
            )
    return [*lines, ""] if lines else []
