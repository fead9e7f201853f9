"""The page brings pictures to the model's size as Python does."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.file.manifest import InputSpec, Interpolation, Layout, PreprocessSpec, Resize
from nip_runtime.file.manifest.model import plain
from nip_runtime.inputs.images import read_file
from nip_runtime.operate.ui import build_site
from tests.evaluate.page.browser import Browser
from tests.ui.conftest import served
from tests.ui.tab import open_tab

SPEC = InputSpec(
    name="input",
    shape=(3, 12, 17),
    layout=Layout.NCHW,
    bounds=(0.0, 1.0),
    mean=None,
    std=None,
    resize=None,
)
ASK = """
(async () => {
  const { readPicture } = await import('/pictures.js');
  const bytes = Uint8Array.from(atob(%s), (letter) => letter.charCodeAt(0));
  const { picture, isPinned } = await readPicture(new Blob([bytes]), %s);
  return [Array.from(picture), isPinned];
})()
"""


def both_ways(
    browser: Browser, golden: Path, path: Path, spec: InputSpec, size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A drawn image at the size of the input: as the page makes it, and as Python does."""
    image = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), np.uint8)
    assert cv2.imwrite(str(path), image)
    ask = ASK % (json.dumps(b64encode(path.read_bytes()).decode()), json.dumps(plain(spec)))
    with served(build_site(golden)) as where, open_tab(browser, where) as tab:
        picture, is_pinned = tab.value(ask)
    assert is_pinned
    return np.reshape(np.array(picture, np.int64), (12, 17, 3)), read_file(path, spec)[0].astype(np.int64)


@pytest.mark.parametrize("interpolation", Interpolation)
@pytest.mark.parametrize("size", [(50, 31), (40, 64), (9, 10), (12, 17)])
def test_resized_and_cropped_as_in_python(
    browser: Browser,
    golden: Path,
    tmp_path: Path,
    size: tuple[int, int],
    interpolation: Interpolation,
) -> None:
    spec = replace(SPEC, preprocess=PreprocessSpec(resize=20, crop=(12, 17), interpolation=interpolation))
    found, expected = both_ways(browser, golden, tmp_path / "a.png", spec, size)
    # Weights of 22 binary places there (OpenCV, enlarging: 11), of 52 here: seldom a level between them.
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() > (0.9 if interpolation is Interpolation.AREA else 0.95)


@pytest.mark.parametrize("size", [(50, 31), (9, 10), (9, 40), (40, 9)])
@pytest.mark.parametrize("resize", Resize)
def test_stretched_as_in_python(
    browser: Browser, golden: Path, tmp_path: Path, size: tuple[int, int], resize: Resize
) -> None:
    found, expected = both_ways(browser, golden, tmp_path / "a.png", replace(SPEC, resize=resize), size)
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() > 0.8
