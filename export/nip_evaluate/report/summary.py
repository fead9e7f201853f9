"""The outcome on the terminal: a table per threat model, never mixed, and what to read next."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nip_evaluate.adaptive import parity_claim
from nip_evaluate.given.paths import EvaluationPaths
from nip_evaluate.report.page.reading import within_text
from nip_evaluate.terms.results import AttackResult, Estimate, Evaluation, Latency
from nip_evaluate.terms.threats import Threat
from nip_runtime.file.manifest import Precision
from nip_runtime.file.rates import Rate

TITLES = {
    Threat.GRAY_BOX: "T1 gray-box: attackers know the weights, not the defence",
    Threat.TRANSFER: "T2 transfer: crafted on another network",
    Threat.QUERY: "T3 query: crafted from the deployed file's answers",
    Threat.ADAPTIVE: "T4 adaptive: attackers know and differentiate the whole defence",
}


def print_summary(evaluation: Evaluation, paths: EvaluationPaths) -> None:
    """Print tables of rates with Wilson 95 % intervals, failed sanity gates, and the files written."""
    console = Console()
    console.print(benign_line(evaluation), soft_wrap=True, highlight=False)
    if evaluation.subject.precision != Precision.FP32:
        console.print(precision_line(evaluation), soft_wrap=True, highlight=False, markup=False)
    for threat in Threat:
        rows = [result for result in evaluation.attacks if result.threat is threat]
        if rows:
            console.print(threat_table(threat, rows))
    for worst in evaluation.worst_case:
        console.print(
            f"worst case over {', '.join(worst.threats)} ({worst.attacks} attacks {within_text(worst)}): "
            f"undefended {rate(worst.undefended)}, defended {rate(worst.defended)}, n = {worst.defended.n}",
            soft_wrap=True,
            highlight=False,
        )
    for entry in evaluation.latency:
        console.print(latency_line(entry), soft_wrap=True, highlight=False)
    for check in evaluation.checks:
        if not check.holds:
            detail = escape(f"{check.claim} ({check.detail})")
            console.print(f"[bold red]sanity gate failed[/]: {detail}", soft_wrap=True)
    if evaluation.not_measured:
        left_out = "; ".join(f"{item.what} ({item.why})" for item in evaluation.not_measured)
        console.print(f"not measured: {left_out}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"report: {paths.page}\nnumbers: {paths.numbers}", soft_wrap=True, markup=False)


def benign_line(evaluation: Evaluation) -> str:
    """What the defence costs, in one sentence."""
    benign = evaluation.benign
    parts = [f"benign: {rate(benign.undefended)} → {rate(benign.defended)}", f"cost {points(benign.cost)}"]
    if benign.flagged is not None:
        parts.append(f"flagged {rate(benign.flagged)}")
    if benign.second_pass is not None:
        parts.append(f"second pass {rate(benign.second_pass)}")
    return ", ".join(parts) + f", n = {benign.defended.n}"


def precision_line(evaluation: Evaluation) -> str:
    """What a converted file was attacked through, and how far that differs from it."""
    precision = Precision(evaluation.subject.precision)
    parity = [check.detail for check in evaluation.checks if check.claim == parity_claim(precision)]
    return (
        f"precision: {precision}; T1, T2 and T4 are crafted on the fp32 network and its twin, everything is "
        f"scored on the file. Twin against file: {'; '.join(parity) or 'not measured'}"
    )


def threat_table(threat: Threat, rows: list[AttackResult]) -> Table:
    """One threat model's attacks."""
    table = Table(title=TITLES[threat], caption="Wilson 95 % intervals.")
    table.add_column("attack")
    known = threat is Threat.GRAY_BOX
    for column in ("n", "undefended", "defended", *(("DSR, gray-box only",) if known else ()), "detected"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = [str(row.defended.n), rate(row.undefended), rate(row.defended)]
        table.add_row(row.name, *cells, *((rate(row.dsr),) if known else ()), rate(row.detected))
    return table


def latency_line(entry: Latency) -> str:
    """What the defence costs in time."""
    return (
        f"latency at batch {entry.batch}: {entry.ratio:.2f} × the plain file "
        f"({entry.plain_ms:.3f} → {entry.defended_ms:.3f} ms, benign images, one CPU thread)"
    )


def rate(value: Rate | None) -> str:
    """A share in per cent with its interval."""
    if value is None:
        return "–"
    low, high = value.interval
    return f"{100 * value.value:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def points(estimate: Estimate) -> str:
    """A difference of shares in points with its interval."""
    return f"{100 * estimate.value:.2f} points ({100 * estimate.low:.2f} to {100 * estimate.high:.2f})"
