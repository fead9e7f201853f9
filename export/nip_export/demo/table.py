"""The demo's closing table on the terminal."""

from __future__ import annotations

from rich.table import Table

from nip_export.demo.scores import DemoScores
from nip_runtime.rates import Rate


def accuracy_table(scores: DemoScores) -> Table:
    """Accuracy undefended and defended, with Wilson 95 % intervals, and what the gate saw."""
    table = Table(
        title="Accuracy of the exported file (gray-box: attackers know the weights, not the defence)",
        caption="Wilson 95 % intervals.",
    )
    table.add_column("images")
    for column in ("n", "undefended", "defended", "DSR", "detected"):
        table.add_column(column, justify="right")
    benign = scores.benign
    table.add_row(
        "benign",
        str(benign.defended.n),
        _cell(benign.undefended),
        _cell(benign.defended),
        "–",
        "–",
        end_section=True,
    )
    for score in scores.attacks:
        table.add_row(
            score.case.name,
            str(score.defended.n),
            _cell(score.undefended),
            _cell(score.defended),
            _share(score.dsr),
            _share(score.detected),
        )
    return table


def adaptive_table(scores: DemoScores) -> Table:
    """What is left against somebody who knows the defence: in a table of its own, never averaged in."""
    table = Table(
        title="Defended accuracy against attackers who know the whole defence (T4)",
        caption="One adaptive attack: stronger ones may leave less.",
    )
    table.add_column("images")
    for column in ("n", "gray-box", "adaptive", "flagged"):
        table.add_column(column, justify="right")
    for score in scores.adaptive:
        cells = (_cell(score.gray_box), _cell(score.defended), f"{score.flagged.value:.1%}")
        table.add_row(score.case.name, str(score.defended.n), *cells)
    return table


def cost_lines(scores: DemoScores) -> list[str]:
    """What the defence costs, in plain sentences."""
    benign = scores.benign
    return [
        f"benign images flagged: {benign.flagged}; right answers spoilt: {benign.false_corrections}",
        *(
            f"latency ratio at batch {entry.batch}: {entry.ratio:.2f} × the plain file "
            f"({entry.plain_ms:.3f} → {entry.defended_ms:.3f} ms, one CPU thread)"
            for entry in scores.latency
        ),
    ]


def _cell(rate: Rate) -> str:
    low, high = rate.interval
    return f"{rate.value:.1%} ({100 * low:.1f}–{100 * high:.1f})"


def _share(rate: Rate | None) -> str:
    return "–" if rate is None else f"{rate.value:.1%}"
