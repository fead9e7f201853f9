"""What pages say of other parts of the product is still so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from nip_export.calibrate.gate import (
    CHANGE_WEIGHT,
    DISAGREEMENT_WEIGHT,
    DOUBT,
    RESPONSE_WEIGHT,
    TYPICALITY_WEIGHT,
    allowed_flags,
)
from nip_export.config import ExportConfig
from nip_runtime import __version__
from nip_runtime.result import Reason

ROOT = Path(__file__).resolve().parents[2]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_report_page_goes_through_every_section_of_the_report() -> None:
    template = page("export/nip_evaluate/report/page/templates/report.html.j2")
    headings = [heading for heading in re.findall(r"<h2>([^<]+)</h2>", template) if "{{" not in heading]
    assert len(headings) > 10
    assert [heading for heading in headings if heading not in page("docs/report.md")] == []


def test_how_it_works_weighs_the_tests_as_the_gate_does() -> None:
    text = page("docs/how-it-works.md")
    assert (DISAGREEMENT_WEIGHT, TYPICALITY_WEIGHT, RESPONSE_WEIGHT, CHANGE_WEIGHT) == (0.5, 0.5, 1.0, 0.5)
    assert "s_free = ½ · (−log₁₀ p_t) + ½ · (−log₁₀ p_d)" in text
    assert "s = s_free + 1 · (−log₁₀ p_r) + ½ · (−log₁₀ p_m)" in text


def test_the_settings_page_knows_the_defaults_and_how_many_images_a_budget_needs() -> None:
    text, config = page("docs/settings.md"), ExportConfig()
    assert f"by default: ordinary traffic then costs about {1 + config.screen_rate:g} passes" in text
    assert (config.screen_rate, DOUBT) == (0.4, 0.1)
    for budget, least in ((0.02, 114), (0.005, 460)):
        assert allowed_flags(least, budget) >= 0 > allowed_flags(least - 1, budget)
        assert (
            f"{least} at {budget:g}" in text
            or f"at least {least} correctly classified ones at {budget:g}" in text
        )


def test_the_glossary_explains_every_reason() -> None:
    text = page("docs/glossary.md").lower()
    assert [reason for reason in Reason if f"*{reason}*" not in text] == []


def test_version_and_citation_agree() -> None:
    project = tomllib.loads(page("pyproject.toml"))["project"]
    assert project["version"] == __version__
    assert f"\nversion: {__version__}\n" in page("CITATION.cff")
    assert "2112.13060" in page("CITATION.cff") and "2112.13060" in page("docs/cite.md")
    assert f"\n## {__version__}" in page("CHANGELOG.md") and "\n## Unreleased\n" in page("CHANGELOG.md")


def test_contributing_names_real_places() -> None:
    text = page("CONTRIBUTING.md")
    found = re.findall(r"`((?:nip_runtime|export|tests|benchmarks)/[\w./-]+)", text)
    assert len(found) > 8
    assert [path for path in found if not (ROOT / path).exists()] == []


def test_the_source_distribution_holds_what_the_readme_links_to() -> None:
    included = tomllib.loads(page("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page("README.md"))
    assert [link for link in links if not any(f"/{link}".startswith(top) for top in included)] == []
