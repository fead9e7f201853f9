"""Damage: files cut off, flipped, swapped, or never a model at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nip_runtime.file.container import encode_metadata_entry, parse_container, wire
from nip_runtime.file.container.wire import encode_bytes, encode_int, encode_varint
from nip_runtime.file.names import MANIFEST_KEY
from tests.abuse.files.bad_file import BadFile, of_bytes
from tests.abuse.files.seal import bare, golden, manifest_text, with_text

_DIGEST = "expected graph digest sha256:.*, got sha256:.*the graph was changed after export"
_NO_MODEL = "expected an ONNX model in .*, got something else .*; check which file this is"


def damaged_files() -> Iterator[BadFile]:
    """All of this kind."""
    yield of_bytes("empty", "got an empty file", lambda: b"")
    yield of_bytes("one-byte", _NO_MODEL, lambda: b"\x08")
    yield of_bytes("zeros", _NO_MODEL, lambda: bytes(4096))
    yield of_bytes("ones", _NO_MODEL, lambda: b"\xff" * 4096)
    yield of_bytes("zip", r"got something else \(a zip archive", lambda: b"PK\x03\x04" + bytes(200))
    yield of_bytes("gif", _NO_MODEL, lambda: b"GIF89a, surely not a model")
    yield of_bytes(
        "text",
        r"got something else \(a web page\)",
        lambda: b"<!doctype html><title>404 Not Found</title>\n" * 9,
    )
    yield of_bytes("no-graph", "no graph in it", lambda: encode_int(1, 8))
    yield of_bytes(
        "no-opset", "no IR or operator-set version", lambda: encode_int(1, 8) + encode_bytes(7, b"")
    )
    yield of_bytes("graph-twice", "two graphs in one file", lambda: golden() + encode_bytes(7, b""))
    yield of_bytes("golden-twice", "two graphs in one file|appears twice", lambda: golden() + golden())
    yield of_bytes("group-tag", "wire type 3 in field 7", lambda: golden() + b"\x3b")
    yield of_bytes("field-0", "field number 0", lambda: golden() + b"\x00")
    yield of_bytes("endless-number", "longer than 10 bytes", lambda: golden() + b"\x08" + b"\xff" * 11)
    yield of_bytes(
        "length-of-2-to-63",
        "got a file cut off after",
        lambda: golden() + b"\x72" + encode_varint(2**63 - 1) + b"x",
    )
    yield of_bytes(
        "graph-is-a-number", "holds another kind of value", lambda: encode_int(1, 8) + encode_int(7, 1)
    )
    yield of_bytes(
        "metadata-not-utf-8", "not UTF-8", lambda: golden() + encode_bytes(14, encode_bytes(1, b"\xff\xfe"))
    )
    yield of_bytes(
        "manifest-twice",
        "metadata key 'nip.manifest' appears twice",
        lambda: golden() + encode_metadata_entry(MANIFEST_KEY, manifest_text()),
    )
    yield of_bytes("plain-model", "got a plain ONNX model", bare, shown=True)
    yield of_bytes("another-model", _DIGEST, lambda: with_text(bare("always"), manifest_text("guarded")))
    yield of_bytes(
        "manifest-of-another", _DIGEST, lambda: with_text(bare("guarded"), manifest_text("detect"))
    )
    yield from _cuts()
    for where, place in _PLACES.items():
        yield of_bytes(f"flipped-{where}", _DIGEST, _flip(place))


def _cuts() -> Iterator[BadFile]:
    """Cut at every field of the model and of the manifest's entry, and within each."""
    content = golden()
    said = "got a file cut off after|got something else|got a plain ONNX model|as JSON text"
    places: set[int] = set()
    for field in wire.fields(content, 0, len(content)):
        places |= {field.start - 1, field.start, (field.start + field.stop) // 2, field.stop - 1, field.stop}
    for place in sorted(places - {0, len(content)}):
        shown = place == len(bare())
        yield of_bytes(f"cut-at-{place}", said, _cut(place), shown=shown)


def _cut(place: int) -> Callable[[], bytes]:
    return lambda: golden()[:place]


def _flip(place: Callable[[], int]) -> Callable[[], bytes]:
    def make() -> bytes:
        content = bytearray(golden())
        content[place()] ^= 1
        return bytes(content)

    return make


def _weight(name: str) -> int:
    """A place in a weight's data."""
    tensor = next(tensor for tensor in parse_container(golden()).initializers if tensor.name == name)
    assert tensor.raw is not None
    return tensor.raw[0]


_PLACES = {
    "backbone-weight": lambda: _weight("classifier.weight"),
    "early-weight": lambda: _weight("nip/early_weight"),
    "threshold": lambda: _weight("nip/flag_threshold"),
    "operator-name": lambda: golden().index(b"LogSoftmax"),
    "output-name": lambda: golden().rindex(b"nip_flagged"),
}
