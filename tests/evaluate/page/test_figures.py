from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from nip_evaluate.report.page.figures import draw_figures
from nip_evaluate.report.page.figures.attacks import drawn_attacks, dsr_figure
from nip_evaluate.report.page.figures.elastic import adaptive_points
from nip_evaluate.report.page.figures.gate import risk_coverage_figure, roc_figure, trade_off_figure
from nip_evaluate.report.page.figures.latency import latency_figure
from nip_evaluate.report.page.figures.svg import rate_lengths, series_style, to_svg
from nip_evaluate.terms.results import Evaluation
from nip_runtime.file.rates import Rate
from tests.evaluate.page import synthetic


def drawings(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, re.DOTALL)


def test_everything_is_drawn_once_per_family_and_attack(full: Evaluation, full_page: str) -> None:
    titles = re.findall(r"<h3>([^<]*)</h3><svg", full_page)
    attacks = [html.escape(f"{groups.attack}, n = 200") for groups in full.influence]
    assert titles == ["FGSM", "MI-FGSM", "PGD", *attacks]
    assert len(drawings(full_page)) == 7 + 3 + len(attacks)


def test_all_share_a_page_without_sharing_ids(full_page: str) -> None:
    ids = Counter(re.findall(r'\bid="([^"]*)"', full_page))
    assert set(ids.values()) == {1}
    for svg in drawings(full_page):
        tree = ET.fromstring(svg)
        own = {value for element in tree.iter() if (value := element.get("id"))}
        used = {
            value.removeprefix("url(").removesuffix(")").removeprefix("#")
            for element in tree.iter()
            for name, value in element.attrib.items()
            if value.startswith("url(#") or (name == "href" and value.startswith("#"))
        }
        assert used
        assert used <= own
        assert tree.get("aria-label")
        assert "currentColor" in svg
        assert "#010203" not in svg


def test_labels_are_escaped_and_bytes_repeat() -> None:
    def make() -> str:
        figure = Figure()
        figure.subplots().imshow(np.zeros((2, 2)))
        return to_svg(figure, name="a", label='"<b>&')

    assert ET.fromstring(make()).get("aria-label") == '"<b>&'
    assert make() == make()


def test_figures_change_with_the_numbers(full: Evaluation) -> None:
    curve = full.trade_offs[0]
    assert trade_off_figure(full) != trade_off_figure(replace(full, trade_offs=(replace(curve, chosen=7),)))
    assert roc_figure(full) != roc_figure(replace(full, detector=full.detector[:2]))
    assert risk_coverage_figure(full) != risk_coverage_figure(
        replace(full, risk_coverage=full.risk_coverage[:2])
    )
    assert latency_figure(full.latency) != latency_figure(full.latency[:1])


def test_nothing_is_drawn_of_nothing() -> None:
    figures = draw_figures(synthetic.minimal(), None)
    assert [facet.title for facet in figures.accuracy] == ["FGSM", "PGD"]
    assert figures.dsr is not None
    missing = (
        figures.confidence,
        figures.trade_off,
        figures.roc,
        figures.risk_coverage,
        figures.ranks,
        figures.latency,
    )
    assert missing == (None,) * 6
    assert figures.groups == ()


def test_dots_need_a_success(full: Evaluation) -> None:
    attacks = tuple(replace(row, dsr=None) for row in full.attacks)
    assert dsr_figure(replace(full, attacks=attacks)) is None
    assert {row.name for row in drawn_attacks(full)} == {row.name for row in full.attacks if row.core}
    none_core = replace(full, attacks=tuple(replace(row, core=False) for row in full.attacks))
    assert len(drawn_attacks(none_core)) == 12


def test_adaptive_attackers_are_drawn_by_their_worst_case(full: Evaluation) -> None:
    assert adaptive_points(full) == [(8 / 255, Rate(17, 500))]
    # Without it, the strongest single attack stands in.
    assert adaptive_points(replace(full, worst_case=())) == [(8 / 255, Rate(33, 500))]
    assert adaptive_points(synthetic.minimal()) == []


def test_error_bars_are_never_negative_and_styles_differ() -> None:
    assert (rate_lengths([Rate(0, 7), Rate(7, 7), Rate(1, 3)]) >= 0).all()
    assert len({series_style(number) for number in range(28)}) == 28
