"""docs/deploy.md is run: every example as it stands, against the answer of `DefendedSession`."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.engines import table
from benchmarks.engines.browser import GRAPHICS
from benchmarks.engines.engines import ENGINES, Engine, Host, install
from benchmarks.engines.material import GOLDENS
from nip_runtime import DefendedSession
from nip_runtime.file.manifest import InputSpec, Interpolation, Layout, PreprocessSpec
from nip_runtime.inputs.images import read_file

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
INCLUDE, LIBRARY = "ONNXRUNTIME_INCLUDE", "ONNXRUNTIME_LIB"
"""Folders of onnxruntime's C header and library, in the environment of whoever wants the C example tested."""


def example(language: str, marker: str) -> str:
    """The one example in a language that has these words."""
    (found,) = (text for kind, text in BLOCKS if kind == language and marker in text)
    return found


def put(folder: Path, golden: str) -> None:
    """A golden file, and an image whose label it corrects, twice as large as the file takes."""
    shutil.copy(GOLDENS / f"{golden}.onnx", folder / "model.nip.onnx")
    with np.load(GOLDENS / f"{golden}.npz") as stored:
        corrected = stored["flagged"] & (stored["labels"] != stored["raw_logits"].argmax(1))
        image = stored["images"][np.flatnonzero(corrected)[-1]]
    cv2.imwrite(str(folder / "image.png"), image.repeat(2, axis=0).repeat(2, axis=1))
    image.tofile(folder / "image.raw")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the examples need."""
    put(tmp_path, "guarded")
    (tmp_path / "nip_input.py").write_text(example("python", "# nip_input.py"))
    (tmp_path / "input.mjs").write_text(example("js", "// input.mjs"))
    return tmp_path


def expected(folder: Path) -> str:
    """What every example prints."""
    with DefendedSession(folder / "model.nip.onnx", device="cpu", threads=1) as session:
        answer = next(iter(session.predict_stream([folder / "image.png"])))
        assert answer.flagged and answer.label != answer.raw_label
        return f"{answer.label} {answer.flagged} {answer.suspicion:.3f}"


def same(said: str, folder: Path) -> bool:
    """JavaScript writes `true`, Python `True`."""
    return said.strip().lower() == expected(folder).lower()


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(cwd)} | variables
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "marker"),
    [
        ("nip_runtime", "from nip_runtime import DefendedSession"),
        ("onnxruntime", "onnxruntime.InferenceSession"),
        ("openvino", "openvino.Core"),
        ("cv2", "cv2.dnn.readNetFromONNX"),
    ],
)
def test_the_python_examples(module: str, marker: str, folder: Path) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    if module == "cv2":
        if cv2.__version__ < "5":
            pytest.skip(f"OpenCV {cv2.__version__} lacks operators; 5 has them")
        put(folder, "always")  # has no screen
    path = os.pathsep.join([str(folder), str(ROOT)])
    said = run(sys.executable, "-W", "error", "-c", example("python", marker), cwd=folder, PYTHONPATH=path)
    assert same(said, folder), said


def nip_input(folder: Path) -> Any:
    """The page's own module."""
    spec = importlib.util.spec_from_file_location("nip_input", folder / "nip_input.py")
    assert spec is not None and spec.loader is not None
    ours = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ours)
    return ours


@pytest.mark.parametrize("interpolation", Interpolation)
@pytest.mark.parametrize("size", [(40, 61), (61, 40), (12, 16), (13, 200), (9, 11)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_pages_preprocessing_is_the_packages(
    channels: int, size: tuple[int, int], interpolation: Interpolation, folder: Path
) -> None:
    """Pixel for pixel: shorter side, then the middle, as files say that were exported with --preprocess."""
    pytest.importorskip("PIL.Image")
    how = PreprocessSpec(resize=20, crop=(12, 16), interpolation=interpolation)
    shape = (channels, 12, 16)
    spec = InputSpec(
        name="input",
        shape=shape,
        layout=Layout.NCHW,
        bounds=(0.0, 1.0),
        mean=None,
        std=None,
        resize=None,
        preprocess=how,
    )
    pixels = np.random.default_rng(2).integers(0, 256, (*size, *((3,) if channels == 3 else ())), np.uint8)
    assert cv2.imwrite(str(folder / "image.png"), pixels)
    found = nip_input(folder).read_input(
        str(folder / "image.png"), shape, None, json.loads(json.dumps(asdict(how)))
    )
    wanted = read_file(folder / "image.png", spec).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(found, wanted)


def test_the_pages_input_refuses_another_size_where_the_file_names_no_way(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"image\.png is 56x56, expected 28x28: resize it as in training"):
        nip_input(folder).read_input(str(folder / "image.png"), (1, 28, 28), None)


def test_nothing_on_the_page_is_left_out() -> None:
    """Nine examples, all of which some test here takes by its marker."""
    kinds = [kind for kind, _ in BLOCKS]
    assert sorted(kinds) == ["c", "html", "js", "js", *["python"] * 5]


@pytest.mark.parametrize(
    ("channels", "size", "coloured"),
    [
        (1, (28, 28), False),
        (1, (61, 75), False),
        (1, (28, 28), True),
        (3, (28, 28), True),
        (3, (100, 43), True),
    ],
)
def test_input_in_javascript_is_that_in_python(
    channels: int, size: tuple[int, int], coloured: bool, folder: Path
) -> None:
    """`area` as OpenCV computes it, to one level of 256, in the right order of channels."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    ours = nip_input(folder)
    height, width = size
    rgb = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    if not coloured:
        rgb[:] = rgb[:, :, :1]
    cv2.imwrite(str(folder / "image.png"), rgb[:, :, ::-1])
    np.dstack([rgb, np.full((height, width), 255, np.uint8)]).tofile(folder / "image.rgba")
    program = f"""
import {{ readFileSync }} from "node:fs";
import {{ toInput }} from "./input.mjs";
const input = toInput(readFileSync("image.rgba"), {width}, {height}, [1, {channels}, 28, 28]);
process.stdout.write([...input].join(" "));
"""
    (folder / "program.mjs").write_text(program)
    found = np.array(run(node, "program.mjs", cwd=folder).split(), np.float32).reshape(1, channels, 28, 28)
    wanted = ours.read_input(str(folder / "image.png"), (channels, 28, 28), "area")
    levels = np.abs(found - wanted) * 255
    assert levels.max() <= 1.01
    # Every decoder rounds the grey of a coloured image in its own way.
    assert (channels == 1 and coloured) or (levels > 0.5).mean() < 0.02


def test_too_small_an_image_is_refused_in_javascript(folder: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    program = 'import { toInput } from "./input.mjs"; toInput(new Uint8Array(400), 10, 10, [1, 1, 28, 28]);'
    command = [node, "--input-type=module", "-e", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert "expected at least 28x28 pixels, got 10x10" in done.stderr


def npm(host: Host, *more: str) -> Engine:
    """An engine of the matrix, with what its example needs besides."""
    engine = next(engine for engine in ENGINES if engine.host is host)
    return Engine(name=engine.name, host=host, packages=(*engine.packages, *more))


@pytest.mark.slow
def test_the_node_example(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    modules = install(npm(Host.NODE, "sharp@0.35.5"), tmp_path_factory.mktemp("node"))
    (folder / "node_modules").symlink_to(modules)
    (folder / "node.mjs").write_text(example("js", "// node.mjs"))
    assert same(run("node", "node.mjs", cwd=folder), folder)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What onnxruntime-web ships."""
    if shutil.which("npm") is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("npm or Chromium is not installed")
    return install(npm(Host.BROWSER), tmp_path_factory.mktemp("web")) / "onnxruntime-web" / "dist"


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["wasm", "webgpu"])
def test_the_page_for_browsers(
    provider: str, package: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As it stands, and with what the text says of WebGPU: other files, their name, and the provider's."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium is not None
    named: list[str] = re.findall(r"`(ort[\w.-]+)`", PAGE)
    if provider == "wasm":
        wanted = [name for name in named if "webgpu" not in name and "asyncify" not in name]
    else:
        wanted = [name for name in named if "webgpu" in name or "asyncify" in name]
        wanted += [name.replace(".mjs", ".wasm") for name in wanted if "asyncify" in name]
    assert len(wanted) == 3
    for name in wanted:
        shutil.copy(package / name, folder)
    page = example("html", "<!doctype html>")
    if provider == "webgpu":
        for old, new in (("ort.wasm.min.mjs", "ort.webgpu.min.mjs"), ('["wasm"]', '["webgpu"]')):
            assert page.count(old) == 1
            page = page.replace(old, new)
    (folder / "index.html").write_text(page + TELLS)
    said = queue.Queue[str]()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Listening, said, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--headless", "--no-sandbox", *GRAPHICS[provider], "--disable-dev-shm-usage"]
    flags.append(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    address = f"http://127.0.0.1:{server.server_port}/index.html"
    browser = subprocess.Popen(
        [chromium, *flags, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        answer = said.get(timeout=180)
    finally:
        browser.kill()
        browser.wait()
        server.shutdown()
        server.server_close()
    assert same(answer, folder), answer


TELLS = """
<script>
const told = (words) => fetch("/said", { method: "POST", body: words });
const place = document.querySelector("#answer");
new MutationObserver(() => told(place.textContent)).observe(place, { childList: true });
addEventListener("error", (event) => told(event.message));
addEventListener("unhandledrejection", (event) => told(String(event.reason)));
</script>
"""
"""Behind the example: tells the test what the page came to show, or what went wrong."""


class Listening(SimpleHTTPRequestHandler):
    def __init__(self, said: queue.Queue[str], *args: Any, **settings: Any) -> None:
        self.said = said
        super().__init__(*args, **settings)

    def do_POST(self) -> None:
        self.said.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the terminal."""


def test_the_c_example(folder: Path) -> None:
    include, library = os.environ.get(INCLUDE), os.environ.get(LIBRARY)
    compiler = shutil.which("cc")
    if include is None or library is None or compiler is None:
        pytest.skip(f"needs a C compiler, and {INCLUDE} and {LIBRARY} in the environment")
    (folder / "deploy.c").write_text(example("c", "// deploy.c"))
    strict = ("-std=c11", "-Wall", "-Wextra", "-Werror")
    linked = ("-I", include, "-L", library, "-lonnxruntime", "-o", "deploy")
    run(compiler, *strict, "deploy.c", *linked, cwd=folder)
    assert same(run(folder / "deploy", cwd=folder, LD_LIBRARY_PATH=library), folder)


def test_the_table_is_written_from_the_kept_results() -> None:
    assert table.main(["--check"]) == 0


@pytest.mark.skipif(not table.read_all(), reason="no engine has been measured")
def test_every_engine_of_the_matrix_is_in_the_table() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    for engine in ENGINES:
        assert any(row.startswith(f"| {engine.name}") for row in rows), engine.name
