"""The page: one HTML file that needs no network."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nip_evaluate.report.page.figures import draw_figures
from nip_evaluate.report.page.figures.elastic import confidence_families, sized_families
from nip_evaluate.report.page.gallery import Gallery
from nip_evaluate.report.page.reading import (
    Verdict,
    adaptive_text,
    epsilon_text,
    headline,
    influence_findings,
    reach_text,
    reaches,
    threats_text,
    verdict,
    within_text,
    worst_of,
)
from nip_evaluate.terms.results import (
    AttackResult,
    BaselineAttack,
    BaselineResult,
    Check,
    Estimate,
    Evaluation,
    InfluenceGroups,
    Subject,
    WorstCase,
)
from nip_evaluate.terms.threats import Threat
from nip_runtime.file.rates import Rate

TITLES = {
    Threat.GRAY_BOX: "gray-box",
    Threat.TRANSFER: "transfer",
    Threat.QUERY: "query",
    Threat.ADAPTIVE: "adaptive",
}
KNOWS = {
    Threat.GRAY_BOX: "The attacker knows the network's weights and not the defence; attacks are crafted on "
    "the undefended network. This is the setting in which the defence is meant to help.",
    Threat.TRANSFER: "The attacker knows neither; attacks are crafted on a surrogate network of another "
    "architecture, trained on the same data.",
    Threat.QUERY: "The attacker sees the deployed file's answers only, and asks as often as it needs to.",
    Threat.ADAPTIVE: "The attacker knows everything: weights, profiles, ρ and thresholds. Attacks are "
    "crafted through a differentiable twin of the whole defence and scored on the exported file.",
}


@dataclass(frozen=True)
class ThreatSection:
    """One threat model's part of the page; threat models share no table."""

    threat: Threat
    title: str
    knows: str
    worst: WorstCase | None
    attacks: tuple[AttackResult, ...]


@dataclass(frozen=True)
class BaselineRow:
    """A baseline and its reading."""

    result: BaselineResult
    verdict: Verdict


def render_page(evaluation: Evaluation, gallery: Gallery | None) -> str:
    """The whole report as one HTML document.

    Args:
        evaluation: every number shown. The first of `trade_offs` is the file itself, the others variants.
        gallery: images of one attack; its influence is drawn rank by rank. None for other inputs.
    """
    environment = Environment(
        loader=PackageLoader("nip_evaluate.report.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        share=_share,
        span=_span,
        points=_points,
        point_span=_point_span,
        p=_p_value,
        svg=Markup,
        bytes=_kilobytes,
    )
    shown = _shown_influence(evaluation, gallery)
    flagging = _flagging(evaluation)
    return environment.get_template("report.html.j2").render(
        e=evaluation,
        head=headline(evaluation),
        head_threats=threats_text,
        within=within_text,
        adaptive_words=adaptive_text(evaluation),
        adaptive_worst=worst_of(evaluation, Threat.ADAPTIVE),
        sections=_sections(evaluation),
        epsilon=lambda attack: epsilon_text(attack.epsilon, attack.norm),
        sized=sized_families(evaluation),
        reaches=[reach_text(reach) for reach in reaches(_gray_box(evaluation))],
        confident=confidence_families(evaluation),
        confident_reaches=[
            reach_text(reach, by_confidence=True)
            for reach in reaches(_gray_box(evaluation), by_confidence=True)
        ],
        baselines=_baselines(evaluation, variant=False),
        variants=_baselines(evaluation, variant=True),
        flagging=flagging,
        one_pass=[row for row in flagging if row.result.passes == 1],
        not_better=_not_better(evaluation),
        head_to_head=_head_to_head,
        compared=_compared(evaluation),
        core=[attack for attack in _gray_box(evaluation) if attack.core],
        gallery=gallery,
        shown_influence=shown,
        findings=[(groups.attack, influence_findings(groups)) for groups in evaluation.influence],
        failed=[check for check in evaluation.checks if not check.holds],
        checks=sorted(evaluation.checks, key=_holds),
        facts=_facts(evaluation.subject),
        figures=draw_figures(evaluation, shown),
    )


def _gray_box(evaluation: Evaluation) -> list[AttackResult]:
    return [attack for attack in evaluation.attacks if attack.threat is Threat.GRAY_BOX]


def _sections(evaluation: Evaluation) -> tuple[ThreatSection, ...]:
    return tuple(
        ThreatSection(
            threat,
            TITLES[threat],
            KNOWS[threat],
            worst_of(evaluation, threat),
            tuple(attack for attack in evaluation.attacks if attack.threat is threat),
        )
        for threat in Threat
    )


def _baselines(evaluation: Evaluation, *, variant: bool) -> tuple[BaselineRow, ...]:
    cost = evaluation.benign.cost.value
    rows = [baseline for baseline in evaluation.baselines if baseline.variant is variant]
    return tuple(BaselineRow(baseline, verdict(baseline, file_cost=cost)) for baseline in rows)


def _flagging(evaluation: Evaluation) -> list[BaselineRow]:
    """Baselines, then variants, that flagged or could have flagged a success."""
    return [
        row
        for variant in (False, True)
        for row in _baselines(evaluation, variant=variant)
        if any(attack.detected is not None for attack in row.result.attacks)
    ]


def _not_better(evaluation: Evaluation) -> tuple[str, ...]:
    cost = evaluation.benign.cost.value
    return tuple(
        baseline.name
        for baseline in evaluation.baselines
        if baseline.lead is not None and verdict(baseline, file_cost=cost).text.startswith("not better")
    )


def _compared(evaluation: Evaluation) -> list[AttackResult]:
    names = {attack.name for baseline in evaluation.baselines for attack in baseline.attacks}
    return [attack for attack in _gray_box(evaluation) if attack.name in names]


def _head_to_head(baseline: BaselineResult, name: str) -> BaselineAttack | None:
    return next((attack for attack in baseline.attacks if attack.name == name), None)


def _shown_influence(evaluation: Evaluation, gallery: Gallery | None) -> InfluenceGroups | None:
    wanted = None if gallery is None else gallery.attack
    first = evaluation.influence[0] if evaluation.influence else None
    return next((groups for groups in evaluation.influence if groups.attack == wanted), first)


def _holds(check: Check) -> bool:
    return check.holds


def _facts(subject: Subject) -> list[tuple[str, str]]:
    return [
        ("file", f"{subject.file}, {_kilobytes(subject.size_bytes)}"),
        ("policy", subject.policy),
        ("precision of the network", subject.precision),
        ("benign budget set at export", _share(subject.benign_budget)),
        ("bound of ρ", f"{subject.eps_pixel * 255:.3g}/255"),
        ("classes", f"{len(subject.classes)}: {', '.join(subject.classes)}"),
        ("seed", str(subject.seed)),
        ("protocol", "quick: fewer images and steps" if subject.quick else "full"),
        ("made on", subject.created),
        ("digest of the graph", subject.graph_digest),
        ("digest of the weights", subject.weights_digest),
        ("digest of the test data", subject.test_digest),
        *((str(name), _text(value)) for name, value in subject.machine.items()),
    ]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)


def _share(value: float) -> str:
    return f"{value:.1%}"


def _span(measured: Rate | Estimate) -> str:
    low, high = measured.interval if isinstance(measured, Rate) else (measured.low, measured.high)
    return f"{100 * low:.1f} – {100 * high:.1f}%"


def _points(measured: Estimate) -> str:
    return f"{_tenth(100 * measured.value)} points"


def _point_span(measured: Estimate) -> str:
    return f"{_tenth(100 * measured.low)} to {_tenth(100 * measured.high)}"


def _tenth(value: float) -> str:
    # A minus as long as a plus, and none before a zero.
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "−")


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _kilobytes(size_bytes: int) -> str:
    return f"{size_bytes / 1000:,.1f} kB"
