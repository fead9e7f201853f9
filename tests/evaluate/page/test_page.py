from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest

from nip_evaluate.report.page import render_page
from nip_evaluate.terms.results import Evaluation
from nip_evaluate.terms.threats import Threat
from tests.evaluate.page import synthetic

SECTIONS = [
    *("headline", "benign", "T1", "T2", "T3", "T4", "size", "baselines", "tradeoff", "detector", "risk"),
    *("images", "influence", "latency", "sanity", "missing", "facts", "glossary"),
]


def section(page: str, name: str) -> str:
    """The text between one section's start and the next one's, without tags."""
    place = SECTIONS.index(name)
    start = page.index(f'id="{name}"')
    end = page.index(f'id="{SECTIONS[place + 1]}"') if place + 1 < len(SECTIONS) else len(page)
    without_figures = re.sub(r"<svg.*?</svg>", "", page[start:end], flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", without_figures)).split())


@pytest.fixture(params=["full_page", "minimal_page", "edge_page"])
def page(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_every_section_is_there_in_order(page: str) -> None:
    places = [page.index(f'id="{name}"') for name in SECTIONS]
    assert places == sorted(places)
    assert re.findall(r'<a href="#(\w+)">', page)[: len(SECTIONS)] == SECTIONS


def test_words_that_promise_too_much_are_absent(page: str) -> None:
    assert not re.findall(r"robust|secure|eliminat", page, re.IGNORECASE)


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    assert "://" not in page
    assert "<script" not in page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith(("#", "data:")) for source in sources)


def test_dsr_is_called_gray_box_wherever_it_stands(page: str) -> None:
    titles = re.findall(r"<h[23]>([^<]*DSR[^<]*)</h[23]>", page)
    assert titles
    assert all("gray-box only" in title for title in titles)
    for header in re.findall(r"<th [^>]*>([^/]*DSR.*?)</th>", page):
        assert re.search(r"(gray-box|transfer|query|adaptive) only", header), header


def test_the_headline_is_the_worst_case(full_page: str) -> None:
    text = section(full_page, "headline")
    assert text.index("1.5%") < text.index("52.3%"), "the worst case comes before the DSR"
    said = "worst case over T1–T4: under every one of 30 attacks within L∞ 8/255."
    assert f"{said} 95% interval 0.5 – 4.3%; n = 200" in text
    assert "undefended: 0.0% (0.0 – 1.9%)" in text
    assert "leave 3.4% [2.1%, 5.4%] of answers right on 500 images" in text
    assert "1 of 3 sanity checks failed" in text
    assert "more steps change less than a point" in text
    assert (
        "not better than: random pattern in place of ρ; PGD-trained network; all rows pay two passes." in text
    )


@pytest.mark.parametrize("threat", Threat)
def test_every_number_of_a_threat_model_is_in_its_table_and_nobody_elses(
    full: Evaluation, full_page: str, threat: Threat
) -> None:
    text = section(full_page, threat.value)
    for attack in full.attacks:
        if attack.threat is not threat:
            assert f"{attack.name} " not in text.replace("PGD 8/255 from ResNet", "")
            continue
        start = text.index(f"{attack.name} ")
        row = text[start : start + 400]
        for rate in (attack.undefended, attack.defended, attack.dsr, attack.detected, attack.broken):
            if rate is not None:
                low, high = rate.interval
                assert f"{rate.value:.1%} {100 * low:.1f} – {100 * high:.1f}%" in row
        assert f"{attack.gain.only_first} / {attack.gain.only_second}" in row
        if attack.queries is not None:
            assert f"{attack.queries:,.0f}" in row


def test_what_was_not_measured_is_said(minimal_page: str) -> None:
    assert (
        "Not measured in this run. What the defence leaves against attackers who know it is unknown"
        in section(minimal_page, "T4")
    )
    assert "not measured: T2, T3, T4" in section(minimal_page, "headline")
    assert "were not part of this run" in section(minimal_page, "headline")
    assert "No baseline was measured in this run" in section(minimal_page, "baselines")
    assert "quick run" in section(minimal_page, "headline")
    assert "--quick runs the gray-box attacks alone" in section(minimal_page, "missing")


def test_baselines_that_win_or_tie_say_so(full: Evaluation, full_page: str) -> None:
    text = section(full_page, "baselines")
    for words in (
        "not better than random pattern in place of ρ: cannot be told apart",
        "not better than PGD-trained network, which is ahead",
        "the file is ahead, but gives up more benign accuracy",
    ):
        assert words in text
    assert "−12.0 points −13.8 to −10.2" in text
    for baseline in full.baselines:
        assert baseline.name in text
        for attack in baseline.attacks:
            assert attack.dsr is not None
            assert f"{attack.dsr.value:.1%}" in text


def test_what_defences_detect_stands_beside_what_they_answer(full: Evaluation) -> None:
    quick = replace(full.baselines[-1], name="the free tests alone", passes=1.0)
    page = render_page(replace(full, baselines=(*full.baselines, quick)), None)
    _, _, after = section(page, "baselines").partition("Detected at one pass, gray-box only")
    one_pass, _, every = after.partition("All numbers, defence by attack")
    # Here those of one pass that flag, there all that flag; JPEG flags nothing and takes no part.
    flagging = [baseline.name for baseline in full.baselines if baseline.variant]
    assert len(flagging) == 3
    assert not any(name in one_pass for name in [*flagging, "JPEG 75"])
    assert all(every.count(name) == 2 for name in flagging)
    assert every.count("JPEG 75") == 1
    shown = [quick.benign.flagged_correct, *(attack.detected for attack in quick.attacks)]
    cells = []
    for rate in shown:
        assert rate is not None
        low, high = rate.interval
        cells.append(f"{rate.value:.1%} {100 * low:.1f} – {100 * high:.1f}%")
    row = f"{quick.name} {' '.join(cells)}"
    assert row in one_pass and row in every
    assert "Detected at one pass" not in section(render_page(full, None), "baselines")


def test_the_size_tables_tell_where_it_stops(full_page: str) -> None:
    text = section(full_page, "size")
    assert "PGD: helps up to ε = 16/255; no longer at ε = 25/255." in text
    assert "C&W: helps up to κ = 5; no longer at κ = 20." in text
    for size in (2, 4, 8, 16, 25, 51):
        assert f"{size}/255 1000" in text


def test_rates_that_cannot_be_had_are_dashes(edge_page: str) -> None:
    text = section(edge_page, "T1")
    assert "– no success" in text
    assert "nan" not in edge_page.lower().replace("nance", "")
    assert "None" not in re.sub(r"<svg.*?</svg>", "", edge_page, flags=re.DOTALL).replace("None could", "")
    assert "not compared: no core attack succeeded" in section(edge_page, "baselines")


def test_the_gallery_shows_what_became_of_each_image(full_page: str) -> None:
    text = section(full_page, "images")
    assert "The first 6 of 8 test images that PGD 8/255 turned from right to wrong" in text
    assert full_page.count("<img ") == 6 * 5
    assert text.count("not flagged") == 1
    assert "Rank by rank under PGD 8/255" in section(full_page, "influence")
    assert "attacked image as the second pass sees it: through the file's view" in section(
        full_page, "influence"
    )


def test_names_from_outside_are_escaped() -> None:
    whole = synthetic.minimal()
    nasty = replace(whole.attacks[0], name='<script>alert("x")</script>')
    subject = replace(whole.subject, file="<b>.onnx", machine={"cpu": "<i>"})
    page = render_page(replace(whole, attacks=(nasty,), subject=subject), None)
    assert "<script>" not in page
    assert "<b>.onnx" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;" in page


def test_an_empty_evaluation_still_renders() -> None:
    empty = replace(synthetic.minimal(), attacks=(), worst_case=(), mean_dsr=None, not_measured=())
    page = render_page(empty, None)
    assert "worst case over T1–T4: not measured" in section(page, "headline")
    assert "No L∞ attack was run" in section(page, "size")
