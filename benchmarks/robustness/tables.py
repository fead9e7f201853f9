"""The tables of the robustness benchmark in Markdown, each from the committed results alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from benchmarks.markdown import table
from benchmarks.robustness.results import (
    Network,
    at_cost,
    baseline,
    read_yardsticks,
    worst,
)
from nip_export.evaluate.page.reading import reach_text, reaches
from nip_export.evaluate.results import AttackResult, BaselineResult, Estimate
from nip_export.evaluate.threats import Threat
from nip_runtime.rates import Rate

MUST_AND_AIM = {0.005: (0.25, 0.40), 0.015: (0.45, 0.65), 0.035: (0.52, 0.80)}
"""Mean DSR that was asked for and aimed at, by the accuracy that may be given up."""
ADAPTIVE_SIZES = (8 / 255, 25 / 255)


def share(rate: Rate | None) -> str:
    """A share with its Wilson 95 % interval, in per cent."""
    if rate is None:
        return "–"
    low, high = rate.interval
    return f"{100 * rate.value:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def estimate(value: Estimate | None) -> str:
    """An estimate with its interval, in per cent or points."""
    if value is None:
        return "–"
    return f"{100 * value.value:.1f} ({100 * value.low:.1f}–{100 * value.high:.1f})"


def signed(value: Estimate | None) -> str:
    """A difference with its interval, in points."""
    if value is None:
        return "–"
    return f"{100 * value.value:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"


DEVELOPED_WITH = ("vgg", "resnet")
EVERY_ROW = "all rows take both passes"


def strength(networks: Sequence[Network]) -> list[str]:
    """Mean DSR and measured benign cost by what may be given up; a row per network."""
    limits = tuple(MUST_AND_AIM)
    head = ["network"]
    for limit in limits:
        head += [f"≤ {100 * limit:g} points: mean DSR", "cost"]
    known, fresh = split(networks)
    rows = [[network.name, *_cells(network, limits)] for network in known]
    asked = ["asked / aimed for"]
    for limit in limits:
        must, aim = MUST_AND_AIM[limit]
        asked += [f"{100 * must:.0f} / {100 * aim:.0f}", ""]
    means, unscreened = ["**mean of these**"], ["mean of these, every row two passes"]
    for limit in limits:
        found = [row.evaluation for network in known for row in network.rows if row.limit == limit]
        means += _mean([e.mean_dsr for e in found], [e.benign.cost for e in found])
        every = [result for e in found if (result := baseline(e, EVERY_ROW)) is not None]
        unscreened += _mean([r.mean_dsr for r in every], [r.benign.cost for r in every])
    others = [
        [f"{network.name}, a kind that nothing was tuned on", *_cells(network, limits)] for network in fresh
    ]
    return table(head, [*rows, means, unscreened, *others, asked])


def split(networks: Sequence[Network]) -> tuple[list[Network], list[Network]]:
    """Networks of the kinds that the gate was developed and first looked at with, and all others."""
    known = [network for network in networks if network.name.split("-")[0] in DEVELOPED_WITH]
    return known, [network for network in networks if network not in known]


def _cells(network: Network, limits: Sequence[float]) -> list[str]:
    cells: list[str] = []
    for limit in limits:
        row = next((row for row in network.rows if row.limit == limit), None)
        found = None if row is None else row.evaluation
        cells += (
            ["–", "–"]
            if found is None
            else [estimate(found.mean_dsr), f"{100 * found.benign.cost.value:.2f}"]
        )
    return cells


def _mean(rates: Sequence[Estimate | None], costs: Sequence[Estimate]) -> list[str]:
    values = [rate.value for rate in rates if rate is not None]
    if not values:
        return ["–", "–"]
    return [f"**{100 * mean(values):.1f}**", f"{100 * mean(cost.value for cost in costs):.2f}"]


def adaptive(networks: Sequence[Network]) -> list[str]:
    """What T4 leaves, beside what T1 leaves of the undefended network."""
    rows = []
    for network in networks:
        cells = [network.name]
        for size in ADAPTIVE_SIZES:
            gray = worst(network.main, (Threat.GRAY_BOX,), size)
            known = worst(network.main, (Threat.ADAPTIVE,), size)
            cells += [
                share(gray.undefended if gray else None),
                share(gray.defended if gray else None),
                "–" if known is None else f"**{share(known.defended)}**",
            ]
        known = worst(network.main, (Threat.ADAPTIVE,), ADAPTIVE_SIZES[0])
        rows.append([*cells, "–" if known is None else str(known.defended.n)])
    head = ["network"]
    for text in ("8/255", "25/255"):
        head += [f"undefended, T1 {text}", f"defended, T1 {text}", f"defended, T4 {text}"]
    return table([*head, "n of T4"], rows)


def verdict(results: Sequence[BaselineResult]) -> str:
    """On how many networks the file is better, not to be told apart, or worse."""
    leads = [result.lead for result in results if result.lead is not None]
    better = sum(lead.low > 0 for lead in leads)
    worse = sum(lead.high < 0 for lead in leads)
    return f"{better} / {len(leads) - better - worse} / {worse}"


def baselines(networks: Sequence[Network], limit: float, *, most: int | None = None) -> list[str]:
    """Baselines at one limit, best first: means over networks, and on how many the file leads."""
    evaluations = [row.evaluation for network in networks for row in network.rows if row.limit == limit]
    names: dict[str, None] = {}
    for evaluation in evaluations:
        names |= dict.fromkeys(result.name for result in evaluation.baselines)
    means = [e.mean_dsr.value for e in evaluations if e.mean_dsr is not None]
    costs = [e.benign.cost.value for e in evaluations]
    rows = [["**this file**", "2", f"{100 * mean(costs):.2f}", f"**{100 * mean(means):.1f}**", "", ""]]
    found_rows = []
    for name in names:
        found = [result for e in evaluations if (result := baseline(e, name)) is not None]
        values = [result.mean_dsr.value for result in found if result.mean_dsr is not None]
        leads = [result.lead.value for result in found if result.lead is not None]
        cost = mean(result.benign.cost.value for result in found)
        found_rows.append(
            (
                mean(values),
                [
                    name,
                    f"{found[0].passes:g}",
                    f"{100 * cost:.2f}",
                    f"{100 * mean(values):.1f}",
                    f"{100 * mean(leads):+.1f}",
                    verdict(found),
                ],
            )
        )
    rows += [row for _, row in sorted(found_rows, key=lambda pair: -pair[0])][:most]
    head = [
        "defence",
        "passes",
        "benign cost, points",
        "mean DSR, %",
        "file leads by",
        "better / even / worse",
    ]
    return table(head, rows)


def equal_cost(networks: Sequence[Network]) -> list[str]:
    """Mean DSR of variants at the benign cost that the file was measured at."""
    names = [curve.name for curve in networks[0].main.trade_offs] if networks else []
    rows = []
    for network in networks:
        evaluation = network.main
        curves = {curve.name: curve for curve in evaluation.trade_offs}
        cost = evaluation.benign.cost.value
        cells = [f"{100 * at_cost(curves[name], cost):.1f}" if name in curves else "–" for name in names]
        rows.append([network.name, f"{100 * cost:.2f}", *cells])
    return table(["network", "cost, points", *names], rows)


def attacks(network: Network, threat: Threat) -> list[str]:
    """One network's attacks of one threat model."""
    known = threat is Threat.GRAY_BOX
    rows = []
    for result in network.main.attacks:
        if result.threat is threat:
            cells = [result.name, str(result.defended.n), share(result.undefended), share(result.defended)]
            rows.append([*cells, *((share(result.dsr),) if known else ()), share(result.detected)])
    if not rows:
        return []
    head = ["attack", "n", "undefended", "defended", *(("DSR, gray-box only",) if known else ()), "detected"]
    return table(head, rows)


def elastic(network: Network) -> list[str]:
    """DSR against ε and against κ."""
    gray = [result for result in network.main.attacks if result.threat is Threat.GRAY_BOX]

    def cells(rows: Sequence[AttackResult]) -> list[list[str]]:
        return [
            [r.name, str(r.defended.n), share(r.undefended), share(r.defended), share(r.dsr)] for r in rows
        ]

    sized = [r for r in gray if r.family in ("FGSM", "PGD")]
    confident = [r for r in gray if r.family == "C&W"]
    head = ["attack", "n", "undefended", "defended", "DSR, gray-box only"]
    said = [reach_text(reach) for reach in reaches(sized)]
    said += [reach_text(reach, by_confidence=True) for reach in reaches(confident, by_confidence=True)]
    rule = "Helps: more attacked images answered rightly than undefended (McNemar, p < 0.05), and DSR ≥ 10 %."
    return [
        *table(head, cells(sized)),
        *table(head, cells(confident)),
        *(f"- {line}" for line in said),
        "",
        rule,
        "",
    ]


def benign(networks: Sequence[Network]) -> list[str]:
    """The dial: asked for and measured on fresh benign images."""
    rows = []
    for network in networks:
        for row in network.rows:
            result = row.evaluation.benign
            passes = "–" if result.second_pass is None else f"{1 + result.second_pass.value:.2f}"
            rows.append(
                [
                    network.name,
                    f"{100 * row.limit:g}",
                    f"{100 * row.benign_budget:g}",
                    share(result.flagged_correct),
                    share(result.undefended),
                    share(result.defended),
                    estimate(result.cost),
                    passes,
                ]
            )
    head = ["network", "may give up", "benign budget, %", "flagged of rightly labelled, %"]
    return table([*head, "undefended, %", "defended, %", "given up, points", "passes"], rows)


def yardsticks() -> list[str]:
    """Networks trained on PGD examples."""
    found = read_yardsticks()
    if not found:
        return []

    def cell(rate: dict[str, float]) -> str:
        return f"{100 * rate['value']:.1f} ({100 * rate['low']:.1f}–{100 * rate['high']:.1f})"

    names = list(found[0].attacks)
    rows = [
        [y.name, cell(y.benign), *(cell(y.attacks[name]) if name in y.attacks else "–" for name in names)]
        for y in found
    ]
    return table(["network", "benign", *names], rows)
