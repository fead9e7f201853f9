from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest

from nip_runtime.errors import DependencyError
from nip_runtime.file.manifest import Manifest
from nip_runtime.operate.ui.engine import FILES, pinned_version, read_engine
from nip_runtime.operate.ui.serve import address_of, open_server
from nip_runtime.operate.ui.site import Site
from nip_runtime.session import DefendedSession
from tests.evaluate.page.browser import Browser, chromium, open_browser

GOLDENS = Path(__file__).parents[1] / "goldens"
PREPARED = 6
STEP = 40
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="session")
def golden() -> Path:
    """A defended file of ten classes, 28×28 grey, policy guarded."""
    return GOLDENS / "guarded.onnx"


@pytest.fixture(scope="session")
def manifest(golden: Path) -> Manifest:
    with DefendedSession(golden, device="cpu") as session:
        return session.manifest


@pytest.fixture(scope="session")
def some_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the fetched one, for tests in which nothing runs."""
    folder = tmp_path_factory.mktemp("engine")
    for name in FILES:
        (folder / name).write_bytes(name.encode())
    (folder / "version.txt").write_text(f"{pinned_version()}\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def prepared(golden: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Examples of the golden file: its images, once with strong noise of one size, once of two."""
    with np.load(golden.with_suffix(".npz")) as kept:
        images, labels = kept["images"][:PREPARED, :, :, None], kept["labels"][:PREPARED]
    drawn = np.random.default_rng(0).integers(-1, 2, (2, *images.shape))
    attacked = np.clip(images[None] + STEP * np.array([1, 2]).reshape(2, 1, 1, 1, 1) * drawn, 0, 255)
    path = tmp_path_factory.mktemp("examples") / "some.npz"
    np.savez(
        path,
        images=images,
        labels=labels,
        attacked=attacked.astype(np.uint8),
        attacks=np.array(["Signs", "Signs"]),
        eps=np.array([STEP, 2 * STEP], np.float64),
        universal=(127 * drawn[0, 0]).astype(np.int8),
        graph_digest=np.array(manifest.digests.graph),
    )
    return path


@pytest.fixture(scope="session")
def pictures(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pictures that fit the golden file, of no known class."""
    folder = tmp_path_factory.mktemp("pictures")
    with np.load(golden.with_suffix(".npz")) as kept:
        for row in (20, 21):
            assert cv2.imwrite(str(folder / f"{row}.png"), kept["images"][row])
    return folder


@contextmanager
def served(site: Site) -> Iterator[str]:
    """The address of a site while it is served."""
    with open_server(site) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield address_of(server)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser with a camera; skipped by name where there is none, or onnxruntime-web was not fetched."""
    executable = chromium()
    if executable is None:
        pytest.skip("no Chromium or Chrome on PATH: the page cannot be opened")
    try:
        read_engine()
    except DependencyError:
        pytest.skip("onnxruntime-web was not fetched (make ui): the file cannot run in the page")
    with open_browser(executable, tmp_path_factory.mktemp("profile"), *CAMERA) as opened:
        yield opened
