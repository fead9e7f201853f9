"""Changes files as a fuzzer does: at random bytes, at random fields, in the manifest; sealed anew or not.

A change of a field keeps the lengths around it right, so that it reaches what lies behind the parser; a new
digest in the manifest lets it reach what lies behind the digest.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from nip_runtime.file.container import wire
from nip_runtime.file.container.wire import WireError, WireType
from nip_runtime.file.names import MANIFEST_KEY
from tests.abuse.files.tree import CHILDREN, GRAPH

_NUMBERS: Final = (
    0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 16, 17, 20, 28, 127, 128, 255, 256, 4096, 65536, 2**31 - 1, 2**31,
    2**32, 2**32 + 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 2, 2**64 - 2**31,
)  # fmt: skip
_FLOATS: Final = (
    b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\x00\x00\x80\xff", b"\x00\x00\x00\x80", b"\x00\x00\x00\x00",
    b"\xff\xff\x7f\x7f", b"\x01\x00\x00\x00", b"\x00\x00\x80\x3f", b"\xff\xff\xff\xff",
)  # fmt: skip
_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 10, 1.5, -0.0, 1e-300, 1e300, 2**31, 2**63, 10**30, "", "x", "input", "1",
    "\ud800", "\x00", "\x1b[2J", "é" * 100, [], {}, [None], [[]], [1, 2, 3], {"a": 1}, math.nan, math.inf,
    [0.0] * 50, "sha256:" + "0" * 64,
)  # fmt: skip
_MOST_DATA: Final = 1 << 12


@dataclass(frozen=True)
class Place:
    """A field: its bytes with tag [begin, stop), its payload [start, stop), the place of its message."""

    number: int
    wire_type: WireType
    begin: int
    start: int
    stop: int
    parent: int
    kind: str


class Original:
    """A good file, laid out to be changed quickly.

    Args:
        content: the file, its manifest the only metadata, at its end.
    """

    def __init__(self, content: bytes) -> None:
        metadata = next(f for f in wire.fields(content, 0, len(content)) if f.number == 14)
        entry = list(wire.fields(content, metadata.start, metadata.stop))
        self.content = content
        self.manifest = content[entry[1].start : entry[1].stop].decode()
        self.document: dict[str, Any] = json.loads(self.manifest)
        self.model = content[: content.index(wire.encode_bytes(14, content[metadata.start : metadata.stop]))]
        self.places = list(_places(self.model))
        named = [p for p in self.places if p.kind == "node" and p.number in (1, 2)]
        self.names = sorted({self.model[p.start : p.stop] for p in named})


def _places(model: bytes) -> Iterator[Place]:
    waiting, count = [("model", 0, len(model), -1)], 0
    while waiting:
        kind, start, stop, parent = waiting.pop()
        position = start
        for field in wire.fields(model, start, stop):
            yield Place(field.number, field.wire_type, position, field.start, field.stop, parent, kind)
            child = CHILDREN.get(kind, {}).get(field.number)
            if child is not None:
                waiting.append((child, field.start, field.stop, count))
            count += 1
            position = field.stop


class Mutator:
    """Makes bad files out of good ones, the same ones for the same seed."""

    def __init__(self, originals: list[Original], seed: int) -> None:
        self._originals = originals
        self._random = random.Random(seed)

    def make(self) -> bytes:
        """The next file."""
        rng = self._random
        original = rng.choice(self._originals)
        if rng.random() < 0.2:
            return self._raw(original.content)
        model = original.model
        for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3))):
            # Finding the fields of a changed file takes longer than checking it: what follows is bytes.
            model = self._field(original) if model is original.model else self._raw(model)
        text = self._text(original, model, resealed=rng.random() < 0.9)
        return model + encode_metadata_entry_bytes(text)

    def _raw(self, content: bytes) -> bytes:
        """Bits, bytes and stretches of the whole file."""
        rng, changed = self._random, bytearray(content)
        for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
            place = rng.randrange(len(changed)) if changed else 0
            match rng.randrange(6):
                case 0 if changed:
                    changed[place] ^= 1 << rng.randrange(8)
                case 1 if changed:
                    changed[place] = rng.randrange(256)
                case 2:
                    changed[place:place] = rng.randbytes(rng.randrange(1, 20))
                case 3:
                    del changed[place : place + rng.randrange(1, 200)]
                case 4:
                    source = rng.choice(self._originals).content
                    start = rng.randrange(len(source))
                    piece = source[start : start + rng.randrange(1, 400)]
                    changed[place : place + len(piece)] = piece
                case 5 if rng.random() < 0.3:
                    del changed[place:]
        return bytes(changed)

    def _field(self, original: Original) -> bytes:
        model, places = original.model, original.places
        place = self._random.choice(places)
        return replaced(model, places, place, self._instead(model, places, place, original.names))

    def _instead(self, model: bytes, places: list[Place], place: Place, names: list[bytes]) -> bytes:
        """What stands instead of a field."""
        rng, whole = self._random, model[place.begin : place.stop]
        match rng.randrange(10):
            case 0:
                return b""
            case 1:
                return whole * rng.choice((2, 2, 3, 50))
            case 2:
                other = rng.choice([p for p in rng.sample(places, 20) if p.kind == place.kind] or [place])
                return model[other.begin : other.stop]
            case 3:
                other = rng.choice(places)
                return whole + model[other.begin : other.stop]
            case 4:
                number = rng.choice((*range(1, 27), 99, 2**29 - 1))
                return wire.encode_varint(number << 3 | place.wire_type) + whole[len(_tag(whole)) :]
            case 5:
                return _tag(whole)[:-1] + rng.randbytes(rng.randrange(1, 12))
            case _:
                return self._value(model, place, names)

    def _value(self, model: bytes, place: Place, names: list[bytes]) -> bytes:
        rng, tag = self._random, _tag(model[place.begin : place.stop])
        payload = model[place.start : place.stop]
        if place.wire_type is WireType.VARINT:
            value = rng.choice((*_NUMBERS, rng.getrandbits(rng.randrange(1, 64))))
            return tag + wire.encode_varint(value)
        if place.wire_type is not WireType.BYTES:
            size = len(payload)
            return tag + (rng.choice(_FLOATS) * 2)[:size]
        match rng.randrange(7):
            case 0:
                payload = rng.choice(names or [b"x"])
            case 1:
                payload = rng.randbytes(rng.choice((0, 1, 2, 4, 8, 64)))
            case 2:
                payload = payload[: rng.randrange(len(payload) + 1)]
            case 3:
                payload = payload + payload[:_MOST_DATA]
            case 4 if len(payload) >= 4:
                start = 4 * rng.randrange(len(payload) // 4)
                payload = payload[:start] + rng.choice(_FLOATS) + payload[start + 4 :]
            case 5 if len(payload) >= 8:
                start = 8 * rng.randrange(len(payload) // 8)
                number = rng.choice(_NUMBERS).to_bytes(8, "little")
                payload = payload[:start] + number + payload[start + 8 :]
            case _ if payload:
                start = rng.randrange(len(payload))
                payload = payload[:start] + bytes([rng.randrange(256)]) + payload[start + 1 :]
        return tag + wire.encode_varint(len(payload)) + payload

    def _text(self, original: Original, model: bytes, *, resealed: bool) -> bytes:
        """The manifest, perhaps changed, perhaps with a digest that fits."""
        rng = self._random
        text = original.manifest
        if resealed:
            text = text.replace(original.document["digests"]["graph"], digest(model), 1)
        chance = rng.random()
        if chance < 0.25:
            document = json.loads(text)
            for _ in range(rng.choice((1, 1, 2))):
                self._document(document)
            text = json.dumps(document)
        elif chance < 0.3:
            return self._raw(text.encode())
        return text.encode()

    def _document(self, document: Any) -> None:
        rng = self._random
        inner = document
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not keys:
                return
            key = rng.choice(keys)
            if not isinstance(inner[key], dict | list) or rng.random() < 0.2:
                break
            inner = inner[key]
        match rng.randrange(5):
            case 0:
                del inner[key]
            case 1 if isinstance(inner, dict):
                inner[rng.choice(("x", "", "name", "shape", "policy"))] = inner.pop(key)
            case 2 if isinstance(inner[key], int | float) and not isinstance(inner[key], bool):
                inner[key] = inner[key] * rng.choice((-1, 0.5, 1.0001, 2, 1000)) + rng.choice((0, 0, 1))
            case _:
                inner[key] = copy.deepcopy(rng.choice(_VALUES))  # a shared list would end up within itself


def encode_metadata_entry_bytes(text: bytes) -> bytes:
    """As :func:`encode_metadata_entry`, for text that need not be UTF-8."""
    return wire.encode_bytes(14, wire.encode_bytes(1, MANIFEST_KEY) + wire.encode_bytes(2, text))


def digest(model: bytes) -> str:
    """Of the first graph that stands in a model, if one can be found."""
    try:
        graph = next((f for f in wire.fields(model, 0, len(model)) if f.number == GRAPH), None)
    except WireError:
        graph = None
    return f"sha256:{hashlib.sha256(model[graph.start : graph.stop] if graph else b'').hexdigest()}"


def replaced(model: bytes, places: list[Place], place: Place, instead: bytes) -> bytes:
    """The model with other bytes for one field, and the lengths of all messages around it made right."""
    begin, stop = place.begin, place.stop
    while place.parent >= 0:
        place = places[place.parent]
        payload = model[place.start : begin] + instead + model[stop : place.stop]
        begin, stop = place.begin, place.stop
        instead = _tag(model[begin:stop]) + wire.encode_varint(len(payload)) + payload
    return model[:begin] + instead + model[stop:]


def _tag(field: bytes) -> bytes:
    _, stop = wire.read_varint(field, 0, len(field))
    return field[:stop]
