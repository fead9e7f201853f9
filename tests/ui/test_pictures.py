"""The page brings pictures to the model's size as Python does."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from nip_runtime.file.manifest import InputSpec, Interpolation, Layout, PreprocessSpec
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
    image = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), np.uint8)
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), image)
    expected = read_file(path, spec)[0].astype(int)
    ask = ASK % (json.dumps(b64encode(path.read_bytes()).decode()), json.dumps(plain(spec)))
    with served(build_site(golden)) as where, open_tab(browser, where) as tab:
        picture, is_pinned = tab.value(ask)
    assert is_pinned
    # Weights of 22 binary places there, of 52 here: seldom a level between them.
    assert np.abs(np.reshape(picture, (12, 17, 3)) - expected).max() <= 1
    assert (np.reshape(picture, (12, 17, 3)) == expected).mean() > 0.98
