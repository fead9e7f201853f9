from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections import Counter

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure

from nip_export.demo.figures import influence_figure, png_uri, signed_png_uri, to_svg
from nip_export.demo.influence import Condition, InfluenceShift


def decode(uri: str) -> npt.NDArray[np.uint8]:
    """RGB pixels (H, W, 3), read by another library than the one that wrote them."""
    header, _, body = uri.partition(",")
    assert header == "data:image/png;base64"
    image = cv2.imdecode(np.frombuffer(base64.b64decode(body), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image[:, :, ::-1], np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_shows_the_pixels(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), dtype=np.uint8)
    shown = decode(png_uri(pixels.astype(np.float32) / np.float32(255)))
    expected = np.repeat(pixels, 3, axis=0) if channels == 1 else pixels
    assert np.array_equal(shown, expected.transpose(1, 2, 0))


def test_no_change_is_grey_and_the_scale_is_black_and_white() -> None:
    difference = np.array([[[0, 0.1, -0.1, 0.05, 9]]], np.float32)
    assert decode(signed_png_uri(difference, scale=0.1))[0, :, 0].tolist() == [128, 255, 0, 191, 255]


def test_svgs_share_a_page_without_sharing_ids() -> None:
    def make(name: str) -> str:
        figure = Figure()
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#010203")
        axes.imshow(np.zeros((2, 2)))
        return to_svg(figure, name=name, label="a label")

    first, second = ET.fromstring(make("a")), ET.fromstring(make("b"))
    ids = Counter(
        element.get("id") for tree in (first, second) for element in tree.iter() if element.get("id")
    )
    assert set(ids.values()) == {1}
    own = {element.get("id") for element in first.iter()}
    used = {
        value.removeprefix("url(").removesuffix(")").removeprefix("#")
        for element in first.iter()
        for name, value in element.attrib.items()
        if value.startswith("url(#") or (name.endswith("href") and value.startswith("#"))
    }
    assert used
    assert used <= own
    text = make("a")
    assert "currentColor" in text
    assert "#010203" not in text
    assert first.get("aria-label") == "a label"
    assert make("a") == text, "the same figure must give the same bytes"


def test_the_influence_figure_draws_what_is_given() -> None:
    rng = np.random.default_rng(0)
    values = {condition: rng.normal(size=(3, 12)).astype(np.float32) for condition in Condition}
    order = np.tile(np.arange(12), (3, 1))
    svg = influence_figure(InfluenceShift(influence=values, order=order, top_k=2))
    other = influence_figure(
        InfluenceShift(
            influence={**values, Condition.RESTORED: values[Condition.BENIGN]}, order=order, top_k=2
        )
    )
    assert ET.fromstring(svg).tag.endswith("svg")
    assert svg != other
