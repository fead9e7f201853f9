"""The tables of the robustness benchmark in Markdown, each from the committed results alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.intervals import Cost
from benchmarks.markdown import table
from benchmarks.robustness.networks import Kind, kind_of
from benchmarks.robustness.results import (
    Network,
    at_cost,
    baseline,
    read_yardsticks,
    worst,
)
from nip_evaluate.report.page.reading import reach_text, reaches
from nip_evaluate.terms.results import AttackResult, BaselineResult, Estimate
from nip_evaluate.terms.threats import Threat
from nip_runtime.file.rates import Rate

Targets = dict[float, tuple[float, float]]


@dataclass(frozen=True)
class Group:
    """Networks that are asked for the same.

    Attributes:
        title: what they are.
        kinds: which networks.
        targets: mean DSR asked for and aimed at, by the accuracy that may be given up.
        developed_with: networks on which the gate's form was chosen.
        seen_before: networks that were looked at with an earlier form; all others were looked at once.
        sizes: ε of the adaptive attacks.
    """

    title: str
    kinds: tuple[Kind, ...]
    targets: Targets
    developed_with: tuple[str, ...]
    sizes: tuple[float, float]
    seen_before: tuple[str, ...] = ()


FASHION_SIZES, CIFAR_SIZES = (8 / 255, 25 / 255), (2 / 255, 8 / 255)
GROUPS = (
    Group(
        "CIFAR-10, convolutional",
        (Kind.CIFAR_RESNET20, Kind.CIFAR_RESNET56, Kind.CIFAR_VGG, Kind.CIFAR_MOBILE),
        {0.005: (0.50, 0.65), 0.015: (0.58, 0.75), 0.035: (0.64, 0.82)},
        ("cifar-resnet20",),
        CIFAR_SIZES,
        seen_before=("cifar-resnet56",),
    ),
    Group(
        "CIFAR-10, transformer",
        (Kind.CIFAR_VIT,),
        {0.005: (0.40, 0.60), 0.015: (0.50, 0.70), 0.035: (0.56, 0.76)},
        ("cifar-vit-1",),
        CIFAR_SIZES,
    ),
    Group(
        "Fashion-MNIST, convolutional",
        (Kind.VGG, Kind.RESNET),
        {0.005: (0.62, 0.72), 0.015: (0.75, 0.82), 0.035: (0.81, 0.87)},
        ("vgg-1", "resnet-1"),
        FASHION_SIZES,
    ),
    Group(
        "Fashion-MNIST, transformer",
        (Kind.VIT,),
        {0.005: (0.40, 0.60), 0.015: (0.55, 0.72), 0.035: (0.65, 0.80)},
        (),
        FASHION_SIZES,
    ),
)
"""Natural images first: they are the harder ones."""
LIMITS = (0.005, 0.015, 0.035)
CURVE = ("PGD 2/255", "PGD 4/255", "PGD 8/255", "PGD 16/255", "PGD 25/255")
FALL = 0.05
"""By how much DSR may fall from PGD 2/255 to 16/255 and still be called elastic."""


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


EVERY_ROW = "all rows take both passes"


def grouped(networks: Sequence[Network]) -> list[tuple[Group, list[Network]]]:
    """The groups of which a network was measured, natural images first."""
    found = [(group, [n for n in networks if kind_of(n.name) in group.kinds]) for group in GROUPS]
    return [(group, members) for group, members in found if members]


def strength(networks: Sequence[Network]) -> list[str]:
    """Mean DSR and measured benign cost by what may be given up; a row per network, groups apart."""
    head = ["network"]
    for limit in LIMITS:
        head += [f"≤ {100 * limit:g} points: mean DSR", "cost"]
    rows: list[list[str]] = []
    for group, members in grouped(networks):
        rows.append([f"**{group.title}**", *[""] * (2 * len(LIMITS))])
        for network in members:
            mark = ", form chosen on it" if network.name in group.developed_with else ""
            mark += ", seen before" if network.name in group.seen_before else ""
            rows.append([network.name + mark, *_cells(network, LIMITS)])
        asked = ["asked / aimed for"]
        for limit in LIMITS:
            must, aim = group.targets[limit]
            asked += [f"{100 * must:.0f} / {100 * aim:.0f}", ""]
        rows.append(asked)
    return table(head, rows)


def curves(networks: Sequence[Network]) -> list[str]:
    """DSR of PGD by ε, the main file; and whether it falls."""
    rows = []
    for network in networks:
        found = {result.name: result.dsr for result in network.main.attacks}
        first, last = found.get(CURVE[0]), found.get(CURVE[3])
        fall = "–" if first is None or last is None else f"{100 * (last.value - first.value):+.1f}"
        rows.append([network.name, *(share(found.get(name)) for name in CURVE), fall])
    return table(["network", *CURVE, "16/255 less 2/255, points"], rows)


def _cells(network: Network, limits: Sequence[float]) -> list[str]:
    cells: list[str] = []
    for limit in limits:
        row = next((row for row in network.rows if row.limit == limit), None)
        found = None if row is None else row.evaluation
        cells += (
            ["–", "–"] if found is None else [estimate(found.mean_dsr), str(Cost.of(vars(found.benign.cost)))]
        )
    return cells


def adaptive(networks: Sequence[Network]) -> list[str]:
    """What T4 leaves, beside what T1 leaves of the undefended network."""
    lines: list[str] = []
    for sizes in (CIFAR_SIZES, FASHION_SIZES):
        rows = []
        for group, members in grouped(networks):
            if group.sizes != sizes:
                continue
            for network in members:
                cells = [network.name]
                for size in sizes:
                    gray = worst(network.main, (Threat.GRAY_BOX,), size)
                    known = worst(network.main, (Threat.ADAPTIVE,), size)
                    cells += [
                        share(gray.undefended if gray else None),
                        share(gray.defended if gray else None),
                        "–" if known is None else f"**{share(known.defended)}**",
                    ]
                known = worst(network.main, (Threat.ADAPTIVE,), sizes[0])
                rows.append([*cells, "–" if known is None else str(known.defended.n)])
        if not rows:
            continue
        head = ["network"]
        for size in sizes:
            text = f"{255 * size:g}/255"
            head += [f"undefended, T1 {text}", f"defended, T1 {text}", f"defended, T4 {text}"]
        lines += table([*head, "n of T4"], rows)
    return lines


ONE_PASS = ("without response: one pass", "typicality alone", "disagreement alone")


def one_pass(networks: Sequence[Network]) -> list[str]:
    """What the free tests detect alone: a row per network and test, a column per attack of its group."""
    lines: list[str] = []
    for _, members in grouped(networks):
        names = [result.name for result in members[0].main.attacks if result.core]
        rows = []
        for network in members:
            for test in ONE_PASS:
                found = baseline(network.main, test)
                if found is None:
                    continue
                detected = {attack.name: attack.detected for attack in found.attacks}
                shares = [rate.value for name in names if (rate := detected.get(name)) is not None]
                average = f"{100 * mean(shares):.1f}" if shares else "–"
                rows.append([network.name, test, average, *(share(detected.get(name)) for name in names)])
        lines += table(["network", "tests", "mean", *names], rows) if rows else []
    return lines


def verdict(results: Sequence[BaselineResult]) -> str:
    """On how many networks the file is better, not to be told apart, or worse."""
    leads = [result.lead for result in results if result.lead is not None]
    better = sum(lead.low > 0 for lead in leads)
    worse = sum(lead.high < 0 for lead in leads)
    return f"{better} / {len(leads) - better - worse} / {worse}"


def baselines(
    networks: Sequence[Network], limit: float, *, variants: bool, most: int | None = None
) -> list[str]:
    """Baselines or variants at one limit, best first: means over networks, and on how many the file leads."""
    evaluations = [row.evaluation for network in networks for row in network.rows if row.limit == limit]
    names: dict[str, None] = {}
    for evaluation in evaluations:
        names |= dict.fromkeys(r.name for r in evaluation.baselines if r.variant is variants)
    means = [e.mean_dsr.value for e in evaluations if e.mean_dsr is not None]
    costs = [e.benign.cost.value for e in evaluations]
    rows = [["**this file**", "2", f"{100 * mean(costs):.2f}", f"**{100 * mean(means):.1f}**", "", ""]]
    found_rows = []
    for name in names:
        found = [result for e in evaluations if (result := baseline(e, name)) is not None]
        values = [result.mean_dsr.value for result in found if result.mean_dsr is not None]
        leads = [result.lead for result in found if result.lead is not None]
        if not values or not leads:
            continue
        cost = mean(result.benign.cost.value for result in found)
        only = signed(leads[0]) if len(leads) == 1 else f"{100 * mean(lead.value for lead in leads):+.1f}"
        found_rows.append(
            (
                mean(values),
                [
                    name,
                    f"{found[0].passes:g}",
                    f"{100 * cost:.2f}",
                    f"{100 * mean(values):.1f}",
                    only,
                    verdict(found),
                ],
            )
        )
    if not found_rows:
        return ["Not measured yet.", ""]
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
    """Benign budgets: asked for, and measured on fresh benign images."""
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
