"""The page in a real browser; and proofs that what the browser is asked here can fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.evaluate.page.browser import Browser, chromium, open_browser

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="no Chromium or Chrome on PATH: the page cannot be opened"
)
WIDTH, HEIGHT = "document.documentElement.scrollWidth", "document.documentElement.scrollHeight"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = chromium()
    assert executable is not None
    with open_browser(executable, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        ("full_page", 1200, False),
        ("full_page", 390, True),
        ("minimal_page", 1200, True),
        ("minimal_page", 390, False),
        ("edge_page", 390, False),
    ],
)
def test_the_page_opens_quietly(
    browser: Browser, request: pytest.FixtureRequest, tmp_path: Path, name: str, width: int, dark: bool
) -> None:
    file, shot = tmp_path / "report.html", tmp_path / "report.png"
    file.write_text(request.getfixturevalue(name), encoding="utf-8")
    loaded = "[...document.images].every(image => image.naturalWidth > 0)"
    visit = browser.visit(
        file, width=width, dark=dark, screenshot=shot, evaluate=(WIDTH, HEIGHT, loaded, "document.title")
    )
    assert visit.complaints == []
    assert [address for address in visit.requests if not address.startswith("data:")] == [file.as_uri()]
    assert visit.values["document.title"] == "nip evaluate: model.nip.onnx"
    assert visit.values[loaded] is True
    assert visit.values[WIDTH] <= width, "only tables and figures scroll sideways, never the page"
    image = cv2.imread(str(shot))
    assert image is not None
    assert image.shape[0] == visit.values[HEIGHT]
    assert bool(np.median(image) < 60) is dark
    assert image.std() > 10, "something is written on it"


@pytest.mark.parametrize(
    "fault",
    [
        '<script>console.error("told")</script>',
        "<script>undefined_function()</script>",
        '<img src="https://example.invalid/x.png">',
        '<link rel="stylesheet" href="https://example.invalid/x.css">',
    ],
)
def test_the_page_refuses_what_does_not_belong_and_the_browser_tells(
    browser: Browser, minimal_page: str, tmp_path: Path, fault: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(minimal_page.replace("</main>", fault + "</main>"), encoding="utf-8")
    visit = browser.visit(file)
    assert any("Content Security Policy" in complaint for complaint in visit.complaints)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ('<script>console.error("told")</script>', "told"),
        ("<script>undefined_function()</script>", "Uncaught"),
        ('<img src="http://127.0.0.1:9/x.png">', "ERR"),
    ],
)
def test_without_its_policy_errors_and_requests_would_be_seen(
    browser: Browser, minimal_page: str, tmp_path: Path, fault: str, told: str
) -> None:
    file = tmp_path / "report.html"
    bare = minimal_page.replace("Content-Security-Policy", "nothing").replace("</main>", fault + "</main>")
    file.write_text(bare, encoding="utf-8")
    visit = browser.visit(file)
    assert any(told in complaint for complaint in visit.complaints)
    assert ("http://127.0.0.1:9/x.png" in visit.requests) is ("127.0.0.1" in fault)
