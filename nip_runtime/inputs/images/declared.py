"""What an image file says of its size, before any of it is decoded.

A few kilobytes can decode to gigabytes, and OpenCV allocates what the header asks for. Offsets are those of
the specifications of PNG, JPEG (ITU-T T.81), WebP, TIFF 6.0, BMP, GIF, Netpbm, JPEG 2000 and HEIF.
"""

from __future__ import annotations

import re
import struct
from typing import Final

_MOST_SEGMENTS: Final = 65536
_FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_PNM: Final = re.compile(rb"P[1-6]\s(?:\s|#[^\n]*\n)*(\d{1,10})\s(?:\s|#[^\n]*\n)*(\d{1,10})\s")
_PAM: Final = re.compile(
    rb"P7\n(?:[^\n]{0,999}\n){0,99}?WIDTH (\d{1,10})\n(?:[^\n]{0,999}\n){0,99}?HEIGHT (\d{1,10})\n"
)


def declared_size(content: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, or None for a format that is not known here.

    Raises:
        ValueError: if the format is known and its header is damaged.
    """
    try:
        return _size(content)
    except (struct.error, IndexError, OverflowError) as error:  # OverflowError: beyond any address
        raise ValueError("the header points beyond the file") from error


def lacks_end(content: bytes) -> bool:
    """Whether the file is a JPEG that was cut off. Some decoders make up the rest of those, in grey."""
    if not content.startswith(b"\xff\xd8"):
        return False
    try:
        _, start = _jpeg(content)
    except (ValueError, struct.error, IndexError):
        return True
    return content.rfind(b"\xff\xd9", start) < 0


def _size(content: bytes) -> tuple[int, int] | None:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(content)
    if content.startswith(b"\xff\xd8"):
        return _jpeg(content)[0]
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp(content)
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(content)
    if content.startswith(b"BM"):
        return _bmp(content)
    if content.startswith((b"GIF87a", b"GIF89a")):
        return _pair("<HH", content, 6)
    if content[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7"):
        match = (_PAM if content.startswith(b"P7") else _PNM).match(content[:65536])
        if match is None:
            raise ValueError("no width and height")
        return int(match[1]), int(match[2])
    if content.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")):
        return _pair(">II", content, _found(b"\xff\x4f\xff\x51", content) + 8)
    if content[4:8] == b"ftyp":
        return _heif(content)
    return None


def _pair(form: str, content: bytes, offset: int) -> tuple[int, int]:
    first, second = struct.unpack_from(form, content, offset)
    return int(first), int(second)


def _found(mark: bytes, content: bytes) -> int:
    place = content.find(mark)
    if place < 0:
        raise ValueError(f"no {mark!r}")
    return place


def _png(content: bytes) -> tuple[int, int]:
    """Follows the chunks to the end: OpenCV 5 allocates up to 4 GiB for one that claims to be as long."""
    size = _pair(">II", content, 16)
    place = 8
    for _ in range(_MOST_SEGMENTS):
        length = int(struct.unpack_from(">I", content, place)[0])
        end = place + 12 + length
        if end > len(content) or min(size) == 0:
            break
        if content[place + 4 : place + 8] == b"IEND":
            return size
        place = end
    raise ValueError("its chunks do not lead to its end")


def _jpeg(content: bytes) -> tuple[tuple[int, int], int]:
    """The size, and where the segments before the first scan end."""
    size: tuple[int, int] | None = None
    place = 2
    for _ in range(_MOST_SEGMENTS):
        marker = content[place + 1]
        if content[place] == marker == 0xFF:  # a fill byte
            place += 1
            continue
        if content[place] != 0xFF or marker == 0xD9:
            break
        if marker in _FRAME_HEADERS and size is None:
            height, width = _pair(">HH", content, place + 5)
            size = width, height
        if marker == 0xDA:
            if size is None:
                break
            return size, place
        place += 2 if marker in _WITHOUT_LENGTH else 2 + _pair(">HH", content, place + 2)[0]
    raise ValueError("no frame before the first scan")


def _webp(content: bytes) -> tuple[int, int]:
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L":
        bits = int(struct.unpack_from("<I", content, 21)[0])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind != b"VP8 ":
        raise ValueError("no frame")
    width, height = _pair("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff(content: bytes) -> tuple[int, int]:
    """Of the first page."""
    order = "<" if content.startswith(b"II") else ">"
    is_big = b"+" in content[:4]
    place = int(struct.unpack_from(order + ("Q" if is_big else "I"), content, 8 if is_big else 4)[0])
    count = int(struct.unpack_from(order + ("Q" if is_big else "H"), content, place)[0])
    first, step = (place + 8, 20) if is_big else (place + 2, 12)
    sizes: dict[int, int] = {}
    for entry in range(first, first + step * min(count, 4096), step):
        tag, kind = _pair(order + "HH", content, entry)
        if tag in (256, 257):
            form = {3: "H", 4: "I", 16: "Q"}.get(kind, "I")
            sizes[tag] = int(struct.unpack_from(order + form, content, entry + (12 if is_big else 8))[0])
    if len(sizes) < 2:
        raise ValueError("no width and height")
    return sizes[256], sizes[257]


def _bmp(content: bytes) -> tuple[int, int]:
    header_size = int(struct.unpack_from("<I", content, 14)[0])
    width, height = _pair("<HH" if header_size == 12 else "<ii", content, 18)
    return abs(width), abs(height)  # a negative height means from top to bottom


def _heif(content: bytes) -> tuple[int, int]:
    """The largest of the images in the file: one of them is the one that is decoded."""
    found = [_pair(">II", content, match.end() + 4) for match in re.finditer(b"ispe", content[: 1 << 24])]
    if not found:
        raise ValueError("no size")
    return max(found, key=lambda size: size[0] * size[1])
