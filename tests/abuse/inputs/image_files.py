"""Image files: damaged, lying, hostile, or of a kind that one does not think of."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.support.dependencies import load
from tests.abuse.inputs.file_case import PIXELS, SMOOTH, FileCase, of_bytes

Pixels = NDArray[Any]
_CANT: Final = "got something OpenCV can't decode; convert it or leave it out"
_CUT: Final = "got a JPEG file that was cut off"
_MANY: Final = "expected an image of at most 134217728 pixels at"


def encoded(suffix: str, image: Pixels = PIXELS, *parameters: int) -> bytes:
    """An image file as OpenCV writes it; channels in the order RGB(A)."""
    cv2: Any = load("cv2")
    bgr = image if image.ndim == 2 else image[..., [2, 1, 0, 3][: image.shape[2]]]
    done, buffer = cv2.imencode(suffix, bgr, list(parameters))
    if not done:
        raise ValueError(f"OpenCV writes no {suffix}")
    return bytes(buffer)


def by_pillow(image: Pixels, form: str, mode: str = "", **options: Any) -> bytes:
    """An image file as Pillow writes it, for kinds that OpenCV does not."""
    from PIL import Image

    buffer = BytesIO()
    made = Image.fromarray(image)
    (made.convert(mode) if mode else made).save(buffer, form, **options)
    return buffer.getvalue()


def png(width: int, height: int, *, content: bytes = b"\0", depth: int = 8, colour: int = 0) -> bytes:
    """A PNG file whose header may say anything."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(content)),
        (b"IEND", b""),
    )
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _with_chunk(length: int) -> bytes:
    """A PNG that claims to go on with a chunk of this length."""
    whole = encoded(".png")
    return whole[:33] + struct.pack(">I", length) + whole[37:]


def _tiff(width: int, height: int, order: str = "<") -> bytes:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 2)
    entries = (struct.pack(order + "HHII", tag, 4, 1, size) for tag, size in ((256, width), (257, height)))
    return head + b"".join(entries) + bytes(64)


def _big_tiff(width: int, height: int) -> bytes:
    head = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2)
    entries = (struct.pack("<HHQQ", tag, 16, 1, size) for tag, size in ((256, width), (257, height)))
    return head + b"".join(entries) + bytes(64)


def _far_tiff() -> bytes:
    return b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1) + bytes(64)


def _jpeg_header(width: int, height: int, before: bytes = b"") -> bytes:
    frame = struct.pack(">BBHBHHB", 0xFF, 0xC0, 17, 8, height, width, 3) + bytes(9)
    return b"\xff\xd8" + before + frame + b"\xff\xda\0\x08" + bytes(99) + b"\xff\xd9"


def _webp(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return (
        b"RIFF" + struct.pack("<I", 99) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + bytes(64)
    )


def _jp2(width: int, height: int) -> bytes:
    return b"\xff\x4f\xff\x51" + struct.pack(">HHII", 47, 0, width, height) + bytes(64)


def _avif(width: int, height: int) -> bytes:
    return struct.pack(">I", 20) + b"ftypavif" + bytes(8) + b"ispe" + struct.pack(">III", 0, width, height)


def _refused(name: str, suffix: str, make: Callable[[], bytes], error: str) -> FileCase:
    return FileCase(name=name, suffix=suffix, place=of_bytes(make), error=error)


def _read(
    name: str, suffix: str, make: Callable[[], bytes], image: Pixels, *, within: int = 0, module: str = ""
) -> FileCase:
    return FileCase(
        name=name, suffix=suffix, place=of_bytes(make), content=image[None], within=within, module=module
    )


def _half(suffix: str, image: Pixels = PIXELS) -> Callable[[], bytes]:
    def make() -> bytes:
        whole = encoded(suffix, image)
        return whole[: len(whole) // 2]

    return make


def _grey(image: Pixels) -> Pixels:
    return np.repeat(image[..., :1], 3, axis=-1)


def _with_alpha() -> bytes:
    return encoded(".png", np.dstack([PIXELS, np.arange(28 * 24, dtype=np.uint8).reshape(28, 24)]))


def _sixteen_bits() -> bytes:
    return encoded(".png", PIXELS.astype(np.uint16) * 256 + 77)


def _turned() -> bytes:
    """Stored lying on its side, with the note that it has to be turned clockwise."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return by_pillow(np.rot90(SMOOTH), "JPEG", exif=exif, quality=100, subsampling=0)


def _frames(form: str, **options: Any) -> bytes:
    from PIL import Image

    return by_pillow(PIXELS, form, save_all=True, append_images=[Image.fromarray(255 - PIXELS)], **options)


def _palette() -> tuple[bytes, Pixels]:
    from PIL import Image

    image = Image.fromarray(SMOOTH).convert("P", palette=Image.Palette.ADAPTIVE)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), np.asarray(image.convert("RGB"))


def _black_and_white() -> Pixels:
    return np.where(SMOOTH[..., 0] > 127, 255, 0).astype(np.uint8)


DAMAGED: Final = (
    _refused("zero bytes", ".png", bytes, "got an empty file"),
    _refused("one byte", ".png", lambda: b"\x89", _CANT),
    _refused("text", ".png", lambda: b"not an image", _CANT),
    _refused("SVG", ".png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", _CANT),
    _refused("a web page", ".jpg", lambda: b"<!DOCTYPE html><title>404</title>", _CANT),
    _refused("an archive", ".png", lambda: b"PK\x03\x04" + bytes(99), _CANT),
    _refused("an array", ".png", lambda: b"\x93NUMPY\x01\x00" + bytes(99), _CANT),
    _refused("nothing but zeros", ".png", lambda: bytes(4096), _CANT),
    _refused("half a PNG", ".png", _half(".png"), _CANT),
    _refused("half a JPEG", ".jpg", _half(".jpg"), _CUT),
    _refused("a JPEG without its end", ".jpg", lambda: encoded(".jpg", SMOOTH)[:-2], _CUT),
    _refused("the head of a JPEG", ".jpg", lambda: encoded(".jpg", SMOOTH)[:100], _CANT),
    _refused("two bytes of a JPEG", ".jpg", lambda: b"\xff\xd8", _CANT),
    _refused("half a BMP", ".bmp", _half(".bmp"), _CANT),
    _refused("half a WebP", ".webp", _half(".webp"), _CANT),
    _refused("half a TIFF", ".tiff", _half(".tiff"), _CANT),
    _refused("half a PPM", ".ppm", _half(".ppm"), _CANT),
    _refused("a PNG without pixels", ".png", lambda: png(28, 24), _CANT),
    _refused("a PNG of no size", ".png", lambda: png(0, 0), _CANT),
    _refused("a PNG of unheard-of depth", ".png", lambda: png(24, 28, depth=7, colour=9), _CANT),
    _refused(
        "a PNG with a damaged chunk", ".png", lambda: encoded(".png").replace(b"IDAT", b"IDAU", 1), _CANT
    ),
    *(
        _refused(
            f"a PNG with a chunk of {length} bytes",
            ".png",
            partial(_with_chunk, length),
            _CANT,
        )
        for length in (2**32 - 1, 2**31 - 1, 2**30, 10_000)
    ),
    _refused("a PNG without its end", ".png", lambda: encoded(".png")[:-12], _CANT),
    _refused("a PPM without size", ".ppm", lambda: b"P6\n# 24 28\n", _CANT),
    _refused("a TIFF without size", ".tif", lambda: b"II*\0" + struct.pack("<IH", 8, 0) + bytes(9), _CANT),
    _refused("a TIFF that points beyond itself", ".tif", lambda: b"II*\0\xff\xff\xff\x7f" + bytes(9), _CANT),
    _refused("a big TIFF that points beyond memory", ".tif", _far_tiff, _CANT),
    _refused("another size", ".png", lambda: encoded(".png", PIXELS[:20]), "got 20x24; resize it"),
    _refused("turned by nobody", ".png", lambda: encoded(".png", np.rot90(PIXELS)), "got 24x28; resize it"),
)

BOMBS: Final = (
    _refused("a PNG of 50000 x 50000", ".png", lambda: png(50000, 50000, content=bytes(1 << 20)), _MANY),
    _refused("a PNG just beyond the limit", ".png", lambda: png(2**14 + 1, 2**13), _MANY),
    _refused("a PNG of 2 to the 62", ".png", lambda: png(2**31 - 1, 2**31 - 1), _MANY),
    _refused("a JPEG of 65500 x 65500", ".jpg", lambda: _jpeg_header(65500, 65500), _MANY),
    _refused(
        "a JPEG of 65500 x 65500 behind much else",
        ".jpg",
        lambda: _jpeg_header(65500, 65500, b"\xff\xe1\0\x04\xff\xd9" * 5000),
        _MANY,
    ),
    _refused("a JPEG of nothing but markers", ".jpg", lambda: b"\xff\xd8" + b"\xff\xe1\0\x02" * 99999, _CANT),
    _refused("a JPEG of nothing but filling", ".jpg", lambda: b"\xff\xd8" + b"\xff" * 999999, _CANT),
    _refused(
        "a BMP of 2 to the 61",
        ".bmp",
        lambda: b"BM" + bytes(12) + struct.pack("<Iii", 40, 2**30, -(2**31) + 1),
        _MANY,
    ),
    _refused(
        "an old BMP of 65535 x 65535",
        ".bmp",
        lambda: b"BM" + bytes(12) + struct.pack("<IHH", 12, 65535, 65535),
        _MANY,
    ),
    _refused("a WebP of 16 million squared", ".webp", lambda: _webp(2**24, 2**24), _MANY),
    _refused("a TIFF of 2 to the 62", ".tif", lambda: _tiff(2**31, 2**31), _MANY),
    _refused("a TIFF of 2 to the 62 from a Motorola", ".tif", lambda: _tiff(2**31, 2**31, ">"), _MANY),
    _refused("a big TIFF of 2 to the 120", ".tif", lambda: _big_tiff(2**60, 2**60), _MANY),
    _refused("a PPM of 10 to the 18", ".ppm", lambda: b"P6 999999999 999999999 255\n\0\0\0", _MANY),
    _refused(
        "a PAM of 10 to the 18",
        ".ppm",
        lambda: b"P7\nWIDTH 999999999\nHEIGHT 999999999\nDEPTH 3\nMAXVAL 255\nENDHDR\n",
        _MANY,
    ),
    _refused(
        "a GIF of 65535 x 65535",
        ".png",
        lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(99),
        _MANY,
    ),
    _refused("a JPEG 2000 of 2 to the 62", ".jp2", lambda: _jp2(2**31, 2**31), _MANY),
    _refused("an AVIF of 2 to the 62", ".avif", lambda: _avif(2**31, 2**31), _MANY),
)

KINDS: Final = (
    _read("alpha", ".png", _with_alpha, PIXELS),
    _read("16 bits", ".png", _sixteen_bits, PIXELS),
    _read("grey", ".png", lambda: encoded(".png", PIXELS[..., 0]), _grey(PIXELS)),
    _read("a grey JPEG", ".jpg", lambda: encoded(".jpg", SMOOTH[..., 0], 1, 100), _grey(SMOOTH), within=3),
    _read("a progressive JPEG", ".jpg", lambda: encoded(".jpg", SMOOTH, 1, 100, 2, 1), SMOOTH, within=6),
    _read("a PNG named JPEG", ".jpg", lambda: encoded(".png"), PIXELS),
    _read("something after its end", ".png", lambda: encoded(".png") + b"<?php ?>", PIXELS),
    _read(
        "something after a JPEG's end",
        ".jpg",
        lambda: encoded(".jpg", SMOOTH, 1, 100) + bytes(99),
        SMOOTH,
        within=6,
    ),
    *(
        _read(f"lossless {suffix[1:]}", suffix, partial(encoded, suffix), PIXELS)
        for suffix in (".bmp", ".ppm", ".tiff")
    ),
    _read("a lossless WebP", ".webp", lambda: encoded(".webp", PIXELS, 64, 101), PIXELS),
    _read(
        "CMYK",
        ".jpg",
        lambda: by_pillow(SMOOTH, "JPEG", "CMYK", quality=100, subsampling=0),
        SMOOTH,
        within=6,
        module="PIL",
    ),
    _read("lying on its side", ".jpg", _turned, SMOOTH, within=6, module="PIL"),
    _read("an animated PNG", ".png", lambda: _frames("PNG"), PIXELS, module="PIL"),
    FileCase(
        name="an animated WebP",
        suffix=".webp",
        place=of_bytes(lambda: _frames("WEBP", lossless=True)),
        error=_CANT,
        content=PIXELS[None],
        module="PIL",
    ),
    _read("two pages", ".tif", lambda: _frames("TIFF"), PIXELS, module="PIL"),
    _read(
        "a big-endian TIFF", ".tif", lambda: by_pillow(PIXELS, "TIFF", big_tiff=True), PIXELS, module="PIL"
    ),
    _read(
        "one bit",
        ".png",
        lambda: by_pillow(_black_and_white(), "PNG", "1"),
        np.repeat(_black_and_white()[..., None], 3, axis=2),
        module="PIL",
    ),
    FileCase(
        name="a palette",
        suffix=".png",
        place=of_bytes(lambda: _palette()[0]),
        content=SMOOTH[None],
        within=24,
        module="PIL",
    ),
)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _link(target: str) -> Callable[[Path], Path]:
    def place(path: Path) -> Path:
        path.symlink_to(target)
        return path

    return place


def _loop(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _socket(path: Path) -> Path:
    there = Path.cwd()
    os.chdir(path.parent)  # a socket's address is at most 108 bytes long
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(there)
    return path


def _sparse(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(2**31)
    return path


def _named(name: bytes) -> Callable[[Path], Path]:
    def place(path: Path) -> Path:
        odd = path.with_name(os.fsdecode(name))
        odd.write_bytes(encoded(".png"))
        return odd

    return place


PLACES: Final = (
    FileCase(name="a folder", suffix=".png", place=_folder, error="got a folder"),
    FileCase(name="a link to nowhere", suffix=".png", place=_link("nowhere"), error="got No such file"),
    FileCase(
        name="a link to itself", suffix=".png", place=_loop, error="got Too many levels of symbolic links"
    ),
    FileCase(name="a pipe", suffix=".png", place=_pipe, error="got a pipe, device or socket"),
    FileCase(name="a socket", suffix=".png", place=_socket, error="got a pipe, device or socket"),
    FileCase(
        name="an endless device", suffix=".png", place=_link("/dev/zero"), error="got a pipe, device or"
    ),
    FileCase(name="a link to the root folder", suffix=".png", place=_link("/"), error="got a folder"),
    FileCase(
        name="two gibibytes of nothing", suffix=".png", place=_sparse, error="of at most 1073741824 bytes"
    ),
    FileCase(
        name="a name too long",
        suffix=".png",
        place=lambda path: path.with_name("x" * 300),
        error="File name too long",
    ),
    FileCase(
        name="a name with a null", suffix=".png", place=lambda path: path.with_name("a\0.png"), error="null"
    ),
    *(
        FileCase(name=f"a name {what}", suffix=".png", place=_named(name), content=PIXELS[None])
        for what, name in (
            ("that is no UTF-8", b"caf\xe9 \xff\xfe.png"),
            ("with a line break", b"a\nb\r\t.png"),
            ("that would clear the screen", b"\x1b[2Jhello.png"),
            ("that looks like an option", b"--json.png"),
            ("with quotes and percent signs", b"%s'\"{}$(id).png"),
            ("in Chinese", "鞋子 é 👢.png".encode()),
        )
    ),
)

IMAGE_FILES: Final = (*DAMAGED, *BOMBS, *KINDS, *PLACES)
