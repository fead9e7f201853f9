"""The page in a real browser: what the file answers there, clicks and keys, and that it asks nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import cv2
import numpy as np
import pytest

from nip_runtime.inputs.images import read_file
from nip_runtime.operate.ui import build_site, write_site
from nip_runtime.result import Prediction
from nip_runtime.session import DefendedSession
from tests.evaluate.page.browser import Browser
from tests.ui.conftest import GOLDENS, PREPARED, served
from tests.ui.tab import Tab, open_tab

LOGIT_TOLERANCE = 2e-4
"""Largest difference of a logit between Python's onnxruntime and the browser's, relative to the largest."""
ASK = """
(async () => {
  const names = ['client', 'pictures', 'gate'];
  const [{ Client }, { toPixels }, gate] = await Promise.all(names.map((name) => import(`/${name}.js`)));
  const facts = await (await fetch('/facts.json')).json();
  const bytes = new Uint8Array(await (await fetch('/examples.bin')).arrayBuffer());
  const client = new Client();
  await client.open(facts);
  const rows = facts.examples.count, size = bytes.length / rows, shape = facts.manifest.input.shape;
  const part = (values, row) => values.slice(row * size, (row + 1) * size);
  const pixels = new Float32Array(bytes.length);
  for (let row = 0; row < rows; row += 1) pixels.set(toPixels(part(bytes, row), shape), row * size);
  const looks = [];
  for (let row = 0; row < 8; row += 1) looks.push(await client.look(part(pixels, row)));
  const { tests, suspicion } = facts.watched;
  const scores = looks.map(({ statistics }) => gate.evaluate(suspicion, gate.scoreOf(tests, statistics)));
  const goal = { truth: looks[0].label, eps: 24 / 255, queries: 60, sees: 'file', seed: 3 };
  const square = await client.square({ pixels: part(pixels, 0), ...goal }, () => {});
  square.pixels = Array.from(square.pixels);
  window.answered = JSON.stringify({ many: await client.many(pixels, rows), looks, scores, square });
})();
"""


@pytest.fixture(scope="module")
def address(golden: Path, prepared: Path, pictures: Path) -> Iterator[str]:
    with served(build_site(golden, examples=prepared, images=pictures)) as where:
        yield where


@pytest.fixture(scope="module")
def expected(golden: Path) -> Prediction:
    with np.load(golden.with_suffix(".npz")) as kept, DefendedSession(golden, device="cpu") as session:
        return session.predict(kept["images"])


def quiet(tab: Tab, address: str) -> None:
    visit = tab.visit()
    assert visit.complaints == []
    assert len(visit.requests) > 10
    assert [asked for asked in visit.requests if not asked.startswith((address, f"blob:{address}"))] == []


@pytest.mark.parametrize("name", ["guarded", "always", "detect", "mirror-median", "guarded-1.2"])
def test_the_file_answers_in_the_browser_as_in_python(browser: Browser, tmp_path: Path, name: str) -> None:
    model = GOLDENS / f"{name}.onnx"
    with np.load(model.with_suffix(".npz")) as kept, DefendedSession(model, device="cpu") as session:
        images = kept["images"]
        wanted, policy = session.predict(images), session.manifest.policy
    for row, image in enumerate(images):
        assert cv2.imwrite(str(tmp_path / f"{row:02}.png"), image)
    with served(build_site(model, images=tmp_path)) as where, open_tab(browser, where) as tab:
        assert tab.value("crossOriginIsolated") is True, "threads need it"
        tab.value(f"void {ASK.strip().rstrip(';')}")
        found = json.loads(tab.wait("window.answered"))
        quiet(tab, where)
    many: list[dict[str, Any]] = found["many"]
    assert [row["label"] for row in many] == wanted.labels.tolist()
    assert [row["rawLabel"] for row in many] == wanted.raw_labels.tolist()
    assert [row["flagged"] for row in many] == wanted.flagged.tolist()
    assert [row["candidate"] for row in many] == wanted.candidate.tolist()
    for field, values in (("logits", wanted.logits), ("rawLogits", wanted.raw_logits)):
        apart = np.abs(np.array([row[field] for row in many]) - values).max()
        assert apart <= LOGIT_TOLERANCE * max(1.0, float(np.abs(values).max()))
    assert np.abs(np.array([row["suspicion"] for row in many]) - wanted.suspicion).max() < 1e-4
    assert [row["label"] for row in found["looks"]] == wanted.labels[:8].tolist()
    if not name.endswith("1.2"):  # in older files rows of one pass have a curve of their own
        shares = np.minimum(found["scores"], 1)
        assert np.abs(shares - wanted.suspicion[:8]).max() < 1e-3, "the page's own arithmetic adds up"
    seen = [row["secondInput"] is not None for row in found["looks"]]
    assert all(seen) if policy == "always" else True in seen
    square = found["square"]
    moved = np.array(square["pixels"], np.float32).reshape(1, 1, 28, 28)
    assert np.abs(moved - images[:1, None] / np.float32(255)).max() <= 24 / 255 + 1e-6
    assert 0 <= moved.min() <= moved.max() <= 1
    with DefendedSession(model, device="cpu") as session:
        attacked = session.predict(moved)
    assert (square["answer"]["label"], square["answer"]["flagged"]) == (
        attacked.labels[0],
        attacked.flagged[0],
    )
    unnoticed = attacked.labels[0] != wanted.labels[0] and not attacked.flagged[0]
    assert (square["loss"] < 0) is bool(unnoticed)
    assert square["asked"] == 60 or unnoticed


def test_examples_and_attacks_by_mouse_and_keyboard(
    browser: Browser, address: str, prepared: Path, golden: Path, expected: Prediction
) -> None:
    with np.load(prepared) as packed, DefendedSession(golden, device="cpu") as session:
        labels, names = packed["labels"], session.manifest.output.class_names
        answers = [session.predict(images) for images in (packed["images"], *packed["attacked"])]
    assert names is not None
    with open_tab(browser, address) as tab:
        tab.click("#gallery label:nth-of-type(3)")
        tab.says("#file-label", names[expected.labels[2]])
        assert tab.text("#raw-label") == names[expected.raw_labels[2]]
        assert names[labels[2]] in tab.text("#source-note")
        for side, logits in (("raw", expected.raw_logits[2]), ("file", expected.logits[2])):
            assert abs(float(tab.text(f"#{side}-bars .chosen .logit")) - logits.max()) < 0.06

        tab.click("#kinds label:nth-of-type(2)")
        tab.click("#prepared label:nth-of-type(2)")
        tab.says("#verdict", "Signs 80/255")
        assert tab.text("#file-label") == names[answers[2].labels[2]]
        assert tab.text("#raw-label") == names[answers[2].raw_labels[2]]
        assert ("flagged" in tab.text("#file-badge")) is bool(answers[2].flagged[2])
        assert "at most 80/255" in tab.text("#pictures")

        tab.focus("#run-all")
        tab.press("Enter")
        tab.wait("document.querySelectorAll('#score-rows tr').length === 3")
        tab.wait("!document.querySelector('#run-all').disabled")
        names_shown = ("no attack", "Signs 40/255", "Signs 80/255")
        for place, (name, answer) in enumerate(zip(names_shown, answers, strict=True), 1):
            right, raw = answer.labels == labels, answer.raw_labels == labels
            parts = (raw, right, ~right & answer.flagged, ~right & ~answer.flagged)
            counts = [str(PREPARED), *(str(int(part.sum())) for part in parts)]
            assert tab.texts(f"#score-rows tr:nth-of-type({place}) > *")[:6] == [name, *counts]
        lost = sum(int(((answer.labels != labels) & ~answer.flagged).sum()) for answer in answers[1:])
        assert f"{lost} got through unnoticed" in tab.text("#score-text")

        tab.focus("input[name=kind]:checked")
        tab.press("ArrowRight")
        tab.says("#verdict", "Universal perturbation 16/255")
        tab.focus("#universal-eps")
        tab.press("Home")
        tab.wait("!document.querySelector('#verdict').textContent.startsWith('Universal')")
        assert tab.text("#file-label") == names[expected.labels[2]], "a perturbation of no size is none"
        tab.press("End")
        tab.says("#verdict", "Universal perturbation 48/255")
        tab.focus("input[name=kind]:checked")
        tab.press("ArrowRight")
        tab.says("#verdict", "Noise 24/255")
        quiet(tab, address)


@pytest.mark.parametrize("sees", [1, 2])
def test_a_live_attack_is_counted(browser: Browser, address: str, sees: int) -> None:
    with open_tab(browser, address) as tab:
        tab.click("#kinds label:nth-of-type(5)")
        tab.click(f"#square-sees label:nth-of-type({sees})")
        tab.choose("#square-eps", "48")
        tab.choose("#square-queries", "100")
        tab.click("#square-one")
        tab.wait("document.querySelectorAll('#score-rows tr').length === 1")
        said = tab.text("#square-text")
        assert "questions" in said
        asked = int(next(word for word in said.split() if word.isdigit()))
        assert 1 <= asked <= 100
        assert tab.text("#score-rows th") == f"Square 48/255, sees the {'network' if sees == 1 else 'file'}"
        cells = [int(cell) for cell in tab.texts("#score-rows td")[:5]]
        assert cells[0] == 1 == sum(cells[2:])
        if "makes a mistake" in said:
            assert cells[1] == 0 if sees == 1 else cells[4] == 1
        (moved,) = (each for each in tab.texts("#pictures figcaption") if each.startswith("the change"))
        assert "at most 48/255" in moved
        assert tab.text("#score-text").startswith("Attacked once")
        quiet(tab, address)


def test_a_long_live_attack_can_be_stopped(browser: Browser, address: str) -> None:
    with open_tab(browser, address) as tab:
        tab.click("#kinds label:nth-of-type(5)")
        tab.choose("#square-eps", "2")
        tab.choose("#square-queries", "10000")
        tab.click("#square-all")
        tab.wait("document.querySelector('#square-progress').value > 0")
        tab.click("#square-stop")
        tab.wait("document.querySelector('#square-stop').disabled")
        assert "Stopped after" in tab.text("#square-text")
        assert tab.value("document.querySelector('#square-all').disabled") is False
        quiet(tab, address)


def test_ones_own_images(browser: Browser, address: str, golden: Path, tmp_path: Path) -> None:
    with np.load(golden.with_suffix(".npz")) as kept:
        image = kept["images"][30]
    large = np.kron(image, np.ones((4, 4), np.uint8))
    for name, content in (("fits.png", image), ("large.png", large), ("wide.png", np.hstack([large, large]))):
        assert cv2.imwrite(str(tmp_path / name), content)
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = ("fits.png", "large.png", "wide.png")
    with DefendedSession(golden, device="cpu") as session:
        spec, names = session.manifest.input, session.manifest.output.class_names or ()
        answers = [session.predict(read_file(tmp_path / name, spec)) for name in files]
    with open_tab(browser, address) as tab:
        for name, answer in zip(files, answers, strict=True):
            tab.choose_file("#file", tmp_path / name)
            tab.says("#source-note", name)
            tab.says("#file-label", names[answer.labels[0]])
            tab.says("#suspicion-text", f"More suspicious than {100 * answer.suspicion[0]:.1f} %")
            assert "true class unknown" in tab.text("#raw-badge")
            assert ("Resized here as the file says" in tab.text("#source-note")) is (name != "fits.png")
        tab.choose_file("#file", tmp_path / "broken.png")
        tab.says("#source-note", "broken.png is no image that this browser can read")
        tab.click("#kinds label:nth-of-type(5)")
        tab.choose("#square-queries", "100")
        tab.click("#square-one")
        tab.wait("document.querySelectorAll('#score-rows tr').length === 1")
        assert "efore the attack" in tab.text("#verdict"), "nobody has said what is right"
        assert "That is" not in tab.text("#verdict")
        tab.click("#camera")
        tab.wait("document.querySelector('#camera-video').videoWidth > 0")
        tab.click("#camera-take")
        tab.says("#source-note", "From the camera")
        assert tab.value("document.querySelector('#camera-dialog').open") is False
        quiet(tab, address)


@pytest.mark.parametrize(("width", "dark"), [(360, True), (360, False), (1440, True), (1440, False)])
def test_it_fits_every_width_and_theme(
    browser: Browser, address: str, tmp_path: Path, width: int, dark: bool
) -> None:
    with open_tab(browser, address, width=width, dark=dark) as tab:
        for kind in range(1, 6):
            tab.click(f"#kinds label:nth-of-type({kind})")
            assert tab.value("document.documentElement.scrollWidth") <= width
            assert tab.unnamed() == [], "a screen reader has nothing to say of it"
        tab.screenshot(tmp_path / "page.png")
        quiet(tab, address)
    image = cv2.imread(str(tmp_path / "page.png"))
    assert image is not None
    assert bool(np.median(image) < 60) is dark
    assert image.std() > 10, "something is written on it"


def test_the_keyboard_reaches_everything_in_order(browser: Browser, address: str) -> None:
    with open_tab(browser, address) as tab:
        tab.value("document.body.focus()")
        reached = []
        for _ in range(14):
            tab.press("Tab")
            active = "document.activeElement"
            reached.append(tab.value(f"{active}.id || {active}.name || {active}.className"))
        wanted = ["skip", "example", "file", "camera", "kind", "run-all"]
        places = [reached.index(name) for name in wanted]
        assert places == sorted(places)


def test_any_web_server_can_host_it(
    browser: Browser, golden: Path, prepared: Path, expected: Prediction, tmp_path: Path
) -> None:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    write_site(build_site(golden, examples=prepared), tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            where = f"http://127.0.0.1:{server.server_port}/"
            with open_tab(browser, where) as tab:
                assert "One thread" in tab.text("#status")
                with DefendedSession(golden, device="cpu") as session:
                    names = session.manifest.output.class_names or ()
                assert tab.text("#file-label") == names[expected.labels[0]]
                quiet(tab, where)
        finally:
            server.shutdown()
            thread.join()


def test_the_policy_keeps_everything_else_out_and_the_browser_tells(browser: Browser, address: str) -> None:
    with open_tab(browser, address) as tab:
        tab.value("fetch('https://example.invalid/').catch(() => 'refused')")
        image = "Object.assign(new Image(), {src: 'https://example.invalid/x.png'})"
        tab.value(f"document.body.append({image})")
        complaints = tab.visit().complaints
        assert sum("Content Security Policy" in each for each in complaints) >= 2
