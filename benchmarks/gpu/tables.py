"""Markdown from the rows of a GPU run. A missed target is bold and says so; what is not there says so too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.gpu.results import (
    Check,
    Compared,
    Held,
    Missing,
    Outcome,
    Profiled,
    Rival,
    Row,
    Setting,
    Timed,
    of_kind,
)
from benchmarks.gpu.verdicts import ratio_verdict, rival_verdict
from benchmarks.markdown import table
from benchmarks.speed.targets import RATIO_LIMITS, SCREEN_RATE, State, Verdict

NONE: Final = "–"
NOT_YET: Final = "not yet measured"
WAYS: Final = ("fused", "gated", "graphed")
WAYS_SHORT: Final = "fused · gated · captured graph"
LABELS: Final = {
    State.BENIGN: f"{SCREEN_RATE:.0%} (ordinary traffic)",
    State.CALM: "no row",
    State.FEW: "5 %",
    State.ALL: "every row",
}
Rows = Sequence[Row]


def judged(verdict: Verdict) -> str:
    """A value; bold with the word if it misses its limit."""
    text = f"{verdict.value:.{verdict.digits}f}"
    return text if verdict.met else f"**{text} missed**"


def setting_of(rows: Rows) -> Setting | None:
    """What the run was made with."""
    return next(iter(of_kind(rows, Setting)), None)


def on_gpu(rows: Rows) -> bool:
    """Whether these are results of a GPU: a dry run's are none to print."""
    setting = setting_of(rows)
    return setting is not None and bool(setting.gpu)


def measured_on(setting: Setting) -> str:
    """Card, driver, versions and date in one sentence."""
    versions = ", ".join(f"{name} {found}" for name, found in setting.versions.items())
    return (
        f"Measured on {setting.gpu}, driver {setting.driver}, {setting.cores} cores of {setting.cpu} "
        f"({setting.system}); {versions}; {setting.date[:10]}, commit {setting.commit}."
    )


def held(rows: Rows) -> str:
    """How many checks of each kind hold, in one sentence; what does not, by name."""
    checks, compared = of_kind(rows, Check), of_kind(rows, Compared)
    bad = [check.name for check in checks if not check.held]
    bad += [f"{row.network} {row.precision} {row.engine}" for row in compared if not row.held]
    good = sum(row.held for row in compared)
    text = (
        f"Answers as the CPU's: {good} of {len(compared)} files and ways; tests and faults that went as "
        f"expected: {sum(check.held for check in checks)} of {len(checks)}."
    )
    return text + (f" **Not: {', '.join(bad)}.**" if bad else "")


def targets_met(rows: Rows) -> str:
    """How many ratios with a target keep it."""
    verdicts = [verdict for row in of_kind(rows, Timed) if (verdict := ratio_verdict(row)) is not None]
    if not verdicts:
        return f"Ratios to one plain pass: {NOT_YET}."
    return f"Ratios that keep their targets: {sum(v.met for v in verdicts)} of {len(verdicts)}."


def ratios(rows: Rows, source: str = "host") -> list[str]:
    """Ratios to one plain pass by network, precision, state and batch; per pass where every row takes two."""
    timed = [row for row in of_kind(rows, Timed) if row.source == source]
    batches = sorted({row.batch for row in timed})
    if not batches:
        return [f"Ratios to one plain pass, from the {source}: {NOT_YET}.", ""]
    lines = list[list[str]]()
    for network, precision in dict.fromkeys((row.network, row.precision) for row in timed):
        own = [row for row in timed if (row.network, row.precision) == (network, precision)]
        plain = [_p50(own, batch) for batch in batches]
        lines.append([f"**{network}, {precision}**, plain file, ms", *plain])
        lines += [
            [f"{LABELS[state]} in the second pass", *(_ways(own, state, batch) for batch in batches)]
            for state in LABELS
        ]
    return table([f"from the {source}; {WAYS_SHORT}", *(f"batch {batch}" for batch in batches)], lines)


def _p50(rows: Sequence[Timed], batch: int) -> str:
    found = [row.latency.p50_ms for row in rows if row.batch == batch and row.state is None]
    return f"{found[0]:.2f}" if found else NOT_YET


def _ways(rows: Sequence[Timed], state: State, batch: int) -> str:
    found = {row.way: row for row in rows if (row.state, row.batch) == (state, batch)}
    if not found:
        return NOT_YET if state.timed_at(batch) else NONE
    return " · ".join(_ratio(found[way]) if way in found else NOT_YET for way in WAYS)


def _ratio(row: Timed) -> str:
    verdict = ratio_verdict(row)
    passes = 1 if row.state is None else row.state.passes
    return f"{row.ratio.median / passes:.2f}" if verdict is None else judged(verdict)


def limits() -> str:
    """The targets in one sentence."""
    text = "; ".join(
        f"{LABELS[state]}: " + ", ".join(f"{limit:g} at batch {batch}" for batch, limit in by_batch.items())
        for state, by_batch in RATIO_LIMITS.items()
        if state in LABELS and by_batch
    )
    return f"Targets, of the host's rows: {text}; 'every row' is per pass."


def rivals(rows: Rows) -> list[str]:
    """PyTorch beside the file."""
    found = of_kind(rows, Rival)
    if not found:
        return [f"PyTorch computing the same defence: {NOT_YET}.", ""]
    lines = [
        [
            row.network,
            "torch.compile" if row.kind == "compiled" else "eager PyTorch",
            str(row.batch),
            f"{row.latency.p50_ms:.2f}",
            f"{row.to_calm.median:.1f}",
            f"{row.to_all.median:.1f}" if (verdict := rival_verdict(row)) is None else judged(verdict),
        ]
        for row in found
    ]
    head = ["same defence, fp32", "in", "batch", "p50 ms", "file faster by: no row", "every row, aim ≥ 2"]
    return table(head, lines)


def memory(rows: Rows) -> list[str]:
    """What files hold on the card."""
    found = of_kind(rows, Held)
    if not found:
        return [f"Memory on the card: {NOT_YET}.", ""]
    lines = [
        [
            f"{row.network}, {row.precision}, {row.way}",
            f"{row.opened_bytes / 2**20:.0f}",
            f"{row.largest_bytes / 2**20:.0f} at batch {row.largest_batch}",
        ]
        for row in found
    ]
    return table(["memory on the card, MiB", "after opening and one row", "after the largest batch"], lines)


def answers(rows: Rows) -> list[str]:
    """Answers beside the CPU's."""
    found = of_kind(rows, Compared)
    if not found:
        return [f"Answers beside the CPU's: {NOT_YET}.", ""]
    lines = [
        [
            f"{row.network}, {row.precision}, {row.engine}",
            str(row.rows),
            _against(row.largest_difference, row.tolerance),
            f"{row.labels_differ} ({row.labels_excused})",
            f"{row.flags_differ} ({row.flags_excused})",
            "yes" if row.held else "**no**",
        ]
        for row in found
    ]
    head = [
        "beside the CPU",
        "rows",
        "logits differ by, of the largest",
        "labels (excused)",
        "flags (excused)",
    ]
    return table([*head, "as the CPU's"], lines)


def _against(value: float, limit: float) -> str:
    return f"{value:.1e} of {limit:g}" if value <= limit else f"**{value:.1e} of {limit:g}**"


def checks(rows: Rows) -> list[str]:
    """Tests and faults, one by one where they did not go as expected."""
    found = of_kind(rows, Check)
    if not found:
        return [f"Tests marked gpu, and faults: {NOT_YET}.", ""]
    lines = [
        [check.name, check.expected, _cell(check.got), "yes" if check.held else "**no**"]
        for check in found
        if not check.held or check.got not in ("passed", "skipped")
    ]
    passed = sum(check.got == "passed" for check in found)
    return [f"Tests passed: {passed}.", "", *table(["what", "expected", "got", "held"], lines)]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())[:300]


def profiles(rows: Rows) -> list[str]:
    """Where onnxruntime's profiler finds the time of what misses its target."""
    found = of_kind(rows, Profiled)
    if not found:
        return []
    lines = [
        [
            f"{row.network}, batch {row.batch}, {row.way}" + (f", {LABELS[row.state]}" if row.state else ""),
            f"{row.total_ms:.2f}",
            ", ".join(f"{name} {ms:.2f}" for name, ms in row.sections_ms.items() if ms >= 0.005),
            ", ".join(row.operators) or NONE,
        ]
        for row in found
    ]
    return [
        "Missed targets under onnxruntime's profiler, fp32:",
        "",
        *table(["what", "ms", "ms by section", "costliest operators"], lines),
    ]


def incomplete(rows: Rows) -> list[str]:
    """Steps that did not end well, and what could not be measured, each with its reason."""
    lines = [
        f"- Step {outcome.name}: {_cell(outcome.problem)}"
        for outcome in of_kind(rows, Outcome)
        if outcome.problem
    ]
    lines += [f"- {row.what}: {_cell(row.why)}" for row in of_kind(rows, Missing)]
    setting = setting_of(rows)
    lines += [f"- {what}: {_cell(why)}" for what, why in (setting.left_out if setting else {}).items()]
    return [f"What is {NOT_YET}, and why:", "", *lines, ""] if lines else []
