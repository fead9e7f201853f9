"""An ONNX file taken apart to the last field, to be changed anywhere and put together again.

Written on the wire format alone: the ``onnx`` package could not write most of what is needed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from nip_runtime.file.container import wire
from nip_runtime.file.container.wire import WireType

NODE, ATTRIBUTE, INITIALIZER, INPUT, OUTPUT, VALUE = 1, 5, 5, 11, 12, 13
GRAPH, OPERATOR_SET, METADATA, FUNCTION = 7, 8, 14, 25

CHILDREN: Final = {
    "model": {7: "graph", 8: "entry", 14: "entry"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 11: "graph"},
    "value": {2: "type"},
    "type": {1: "tensor type"},
    "tensor type": {2: "shape"},
    "shape": {1: "dimension"},
}
"""Which fields hold messages of which kind."""


@dataclass
class Message:
    """A message: its fields in order."""

    kind: str
    fields: list[Part] = field(default_factory=list)

    def parts(self, number: int) -> list[Part]:
        """Fields of this number."""
        return [part for part in self.fields if part.number == number]

    def messages(self, number: int) -> list[Message]:
        """Messages in fields of this number."""
        return [part.value for part in self.parts(number) if isinstance(part.value, Message)]

    def text(self, number: int) -> str:
        """The first text in a field of this number; "" if there is none."""
        values = [part.value for part in self.parts(number) if isinstance(part.value, bytes)]
        return values[0].decode() if values else ""

    def put(self, number: int, value: int | bytes | str) -> None:
        """Replace the fields of this number by one."""
        self.fields = [part for part in self.fields if part.number != number]
        self.add(number, value)

    def add(self, number: int, value: int | bytes | str | Message) -> None:
        """Append a field."""
        kind = WireType.VARINT if isinstance(value, int) else WireType.BYTES
        self.fields.append(Part(number, kind, value.encode() if isinstance(value, str) else value))

    def drop(self, number: int) -> None:
        """Take the fields of this number out."""
        self.fields = [part for part in self.fields if part.number != number]

    def encode(self) -> bytes:
        """The message as bytes."""
        return b"".join(part.encode() for part in self.fields)

    def walk(self) -> Iterator[Message]:
        """This message and all in it."""
        yield self
        for part in self.fields:
            if isinstance(part.value, Message):
                yield from part.value.walk()


@dataclass
class Part:
    """A field. Numbers of fixed width are kept as bytes."""

    number: int
    wire_type: WireType
    value: int | bytes | Message

    def encode(self) -> bytes:
        """The field as bytes."""
        tag = wire.encode_varint(self.number << 3 | self.wire_type)
        if isinstance(self.value, int):
            return tag + wire.encode_varint(self.value)
        content = self.value.encode() if isinstance(self.value, Message) else self.value
        if self.wire_type is not WireType.BYTES:
            return tag + content
        return tag + wire.encode_varint(len(content)) + content


def take_apart(content: bytes, kind: str = "model") -> Message:
    """The message that bytes hold."""
    children, message = CHILDREN.get(kind, {}), Message(kind)
    for found in wire.fields(content, 0, len(content)):
        value: int | bytes | Message = content[found.start : found.stop]
        if found.wire_type is WireType.VARINT:
            value = found.value
        elif found.number in children and found.wire_type is WireType.BYTES:
            value = take_apart(content[found.start : found.stop], children[found.number])
        message.fields.append(Part(found.number, found.wire_type, value))
    return message


@dataclass
class Model:
    """A model that is being changed."""

    root: Message

    @property
    def graph(self) -> Message:
        """Its graph."""
        return self.root.messages(GRAPH)[0]

    def weight(self, name: str) -> Message:
        """A stored weight."""
        return next(tensor for tensor in self.graph.messages(INITIALIZER) if tensor.text(8) == name)

    def node(self, output: str) -> Message:
        """The node that computes a value."""
        return next(
            node
            for node in self.graph.messages(NODE)
            if any(part.value == output.encode() for part in node.parts(2))
        )

    def value(self, name: str, number: int = OUTPUT) -> Message:
        """A graph input (11), output (12) or stated value (13)."""
        return next(value for value in self.graph.messages(number) if value.text(1) == name)


Edit = Callable[[Model], None]


def edited(content: bytes, edit: Edit) -> bytes:
    """The model with one change, its graph elsewhere as it was."""
    model = Model(take_apart(content))
    edit(model)
    return model.root.encode()


def node(operator: str, inputs: list[str], outputs: list[str], *attributes: bytes) -> Message:
    """A node; attributes are serialised AttributeProtos."""
    message = Message("node")
    for number, names in ((1, inputs), (2, outputs)):
        for name in names:
            message.add(number, name)
    message.add(4, operator)
    for attribute in attributes:
        message.add(5, attribute)
    return message
