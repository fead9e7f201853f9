"""What stands in place of the file that was meant is named, by real files of each kind."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.errors import ArtifactError
from nip_runtime.file.container import parse_container
from nip_runtime.support.kinds import kind_of, no_archive

cv2: Any = pytest.importorskip("cv2")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def picture(suffix: str) -> bytes:
    done, packed = cv2.imencode(suffix, np.zeros((8, 8, 3), np.uint8))
    assert done
    return bytes(packed)


def stored(array: NDArray[np.float64], *, packed: bool) -> bytes:
    file = io.BytesIO()
    if packed:
        np.savez(file, images=array)
    else:
        np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (picture(".jpg"), "a JPEG image"),
        (picture(".png"), "a PNG image"),
        (stored(np.zeros(3), packed=True), "a zip archive, as .npz files and PyTorch checkpoints are"),
        (stored(np.zeros(3), packed=False), "a numpy array (.npy)"),
        (POINTER, "a Git LFS pointer: the file itself was not fetched"),
        ((2).to_bytes(8, "little") + b'{"__metadata__":{}}', "a safetensors file"),
        (b"<!doctype html><title>404</title>", "a web page"),
        (b"", "an empty file"),
    ],
)
def test_a_model_that_is_something_else(content: bytes, kind: str) -> None:
    assert kind_of(content) == kind
    with pytest.raises(ArtifactError) as caught:
        parse_container(content)
    assert kind in str(caught.value)
    assert "wire type" not in str(caught.value)


def test_what_is_not_known_is_not_guessed(golden_bytes: bytes) -> None:
    assert kind_of(golden_bytes) is None
    assert kind_of(b"hello") is None


def test_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for content, kind in (
        (stored(np.zeros(3), packed=True), None),
        (picture(".jpg"), "a JPEG image"),
        (b"hello", "something else"),
        (b"", "an empty file"),
    ):
        path.write_bytes(content)
        assert no_archive(path) == kind


@pytest.fixture
def golden_bytes() -> bytes:
    return (Path(__file__).parents[1] / "goldens" / "guarded.onnx").read_bytes()
