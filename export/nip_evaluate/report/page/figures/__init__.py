"""The page's figures as inline SVG; everything here draws what is in the results and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from nip_evaluate.report.page.figures.attacks import dsr_figure
from nip_evaluate.report.page.figures.elastic import accuracy_facets, confidence_figure
from nip_evaluate.report.page.figures.gate import risk_coverage_figure, roc_figure, trade_off_figure
from nip_evaluate.report.page.figures.influence import group_facets, rank_figure
from nip_evaluate.report.page.figures.latency import latency_figure
from nip_evaluate.report.page.figures.svg import Facet
from nip_evaluate.terms.results import Evaluation, InfluenceGroups


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All of them as SVG elements; None or empty where there is nothing to draw."""

    accuracy: tuple[Facet, ...]
    confidence: str | None
    dsr: str | None
    trade_off: str | None
    roc: str | None
    risk_coverage: str | None
    groups: tuple[Facet, ...]
    ranks: str | None
    latency: str | None


def draw_figures(evaluation: Evaluation, shown: InfluenceGroups | None) -> Figures:
    """Draw everything; `shown` is the attack whose influence is drawn rank by rank."""
    return Figures(
        accuracy=accuracy_facets(evaluation),
        confidence=confidence_figure(evaluation),
        dsr=dsr_figure(evaluation),
        trade_off=trade_off_figure(evaluation),
        roc=roc_figure(evaluation),
        risk_coverage=risk_coverage_figure(evaluation),
        groups=group_facets(evaluation.influence),
        ranks=None if shown is None else rank_figure(shown),
        latency=latency_figure(evaluation.latency),
    )


__all__ = ["Facet", "Figures", "draw_figures"]
