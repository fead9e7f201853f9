"""The size that a header declares is the size that is decoded, for every format and writer at hand."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nip_runtime.inputs.images.declared import declared_size, lacks_end

cv2: Any = pytest.importorskip("cv2")
_HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"II*\0", b"MM\0*", b"II+\0", b"BM", b"GIF89a", b"P6 ", b"P7\n")


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (301, 5), (260, 259)])
@pytest.mark.parametrize(
    "suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp", ".ppm", ".pgm", ".pbm", ".jp2", ".gif", ".avif"]
)
def test_as_opencv_writes_them(suffix: str, shape: tuple[int, int]) -> None:
    if not cv2.haveImageWriter(f"a{suffix}"):
        pytest.skip(f"this OpenCV writes no {suffix}")
    if suffix == ".jp2" and min(shape) < 32:
        pytest.skip("OpenCV writes no JPEG 2000 as small as that")
    image = np.random.default_rng(0).integers(
        0, 256, shape if suffix in (".pgm", ".pbm") else (*shape, 3), np.uint8
    )
    done, buffer = cv2.imencode(suffix, image)
    assert done
    assert declared_size(bytes(buffer)) == shape[::-1]
    assert cv2.imdecode(buffer, cv2.IMREAD_COLOR).shape[:2] == shape


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
        ("JPEG", {"icc_profile": bytes(100_000)}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"lossless": True, "save_all": True, "append": True}),
        ("TIFF", {}),
        ("TIFF", {"big_tiff": True}),
        ("BMP", {}),
        ("GIF", {"save_all": True, "append": True}),
        ("PPM", {}),
        ("AVIF", {}),
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True}),
    ],
)
def test_as_pillow_writes_them(form: str, options: dict[str, Any]) -> None:
    Image = pytest.importorskip("PIL.Image")
    Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")
    made = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 67, 3), np.uint8))
    chosen = {name: value for name, value in options.items() if name != "append"}
    if "append" in options:
        chosen["append_images"] = [made.rotate(180)]
    buffer = BytesIO()
    made.save(buffer, form, **chosen)
    assert declared_size(buffer.getvalue()) == (67, 45)
    assert not lacks_end(buffer.getvalue())


@given(
    st.one_of(
        st.binary(max_size=300), st.builds(bytes.__add__, st.sampled_from(_HEADS), st.binary(max_size=300))
    )
)
@example(b"")
@example(b"\xff\xd8\xff")
@example(b"\xff\xd8\xff\xe1\x00\x00")
@example(b"P7\n" + b"a\n" * 40000)
@example(b"P6 " + b"#\n" * 30000)
def test_any_bytes_have_a_size_or_none_or_a_damaged_header(content: bytes) -> None:
    try:
        size = declared_size(content)
    except ValueError:
        size = None
    assert size is None or min(size) >= 0
    lacks_end(content)


@pytest.mark.parametrize("length", [2**32 - 1, 2**31 - 1, 10_000])
def test_chunks_of_a_png_that_lead_beyond_its_end(length: int) -> None:
    """OpenCV 5 allocates what they claim, so this must be found before it gets the file."""
    whole = bytes(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1])
    assert declared_size(whole) == (9, 9)
    with pytest.raises(ValueError, match="chunks do not lead to its end"):
        declared_size(whole[:33] + length.to_bytes(4, "big") + whole[37:])


def test_a_jpeg_is_whole_until_its_last_bytes_go() -> None:
    whole = bytes(cv2.imencode(".jpg", np.zeros((40, 40, 3), np.uint8))[1])
    assert not lacks_end(whole)
    assert not lacks_end(whole + bytes(1000))
    assert all(lacks_end(whole[:size]) for size in range(2, len(whole) - 1))
