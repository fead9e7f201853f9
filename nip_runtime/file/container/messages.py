"""The messages that ONNX files are made of: which fields the profile knows, and which it refuses by name.

What protobuf would merge, skip or read otherwise than this reader is never passed over in silence: a single
field that appears twice, an unknown field, one of another wire type.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nip_runtime.file.container.wire import WireType

_NUMBER: Final = (WireType.VARINT,)
_BYTES: Final = (WireType.BYTES,)
_FLOAT: Final = (WireType.FIXED32,)
_NUMBERS: Final = (WireType.VARINT, WireType.BYTES)
"""Repeated numbers come one by one or packed."""
_FLOATS: Final = (WireType.FIXED32, WireType.BYTES)
_DOUBLES: Final = (WireType.FIXED64, WireType.BYTES)


_Fields = Mapping[int, tuple[WireType, ...]]


class Message:
    """One kind of message.

    Args:
        name: in words.
        once: wire types of the fields that stand at most once, by number.
        many: of the fields that may be repeated.
        refused: fields that exist in ONNX and not in the profile, in words.
    """

    def __init__(
        self,
        name: str,
        *,
        once: _Fields | None = None,
        many: _Fields | None = None,
        refused: Mapping[int, str] | None = None,
    ) -> None:
        self.name: Final = name
        self.refused: Final = refused or {}
        rules = {number: (kinds, 1 << number) for number, kinds in (once or {}).items()}
        rules |= {number: (kinds, 0) for number, kinds in (many or {}).items()}
        self.rules: Final = rules
        """Per known field its wire types, and a bit of its own if it stands only once, else 0."""


MODEL: Final = Message(
    "the model",
    # IR version, producer, its version, domain, model version, text, graph
    once={1: _NUMBER, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _NUMBER, 6: _BYTES, 7: _BYTES},
    many={8: _BYTES, 14: _BYTES},  # operator sets, metadata
    refused={20: "training information", 25: "model-local functions", 26: "a device configuration"},
)
OPERATOR_SET: Final = Message("an operator set", once={1: _BYTES, 2: _NUMBER})
ENTRY: Final = Message("a metadata entry", once={1: _BYTES, 2: _BYTES})
GRAPH: Final = Message(
    "the graph",
    once={2: _BYTES, 10: _BYTES},  # name, text
    many={
        1: _BYTES,
        5: _BYTES,
        11: _BYTES,
        12: _BYTES,
        13: _BYTES,
    },  # nodes, weights, inputs, outputs, values
    refused={14: "quantisation annotations", 15: "sparse weights", 16: "metadata of the graph"},
)
NODE: Final = Message(
    "a node",
    once={3: _BYTES, 4: _BYTES, 6: _BYTES, 7: _BYTES},  # name, operator, text, domain
    many={1: _BYTES, 2: _BYTES, 5: _BYTES},  # inputs, outputs, attributes
    refused={8: "an overload of a function", 9: "metadata of a node", 10: "a device configuration"},
)
ATTRIBUTE: Final = Message(
    "an attribute",
    once={1: _BYTES, 2: _FLOAT, 3: _NUMBER, 4: _BYTES, 5: _BYTES, 13: _BYTES, 20: _NUMBER},
    many={7: _FLOATS, 8: _NUMBERS, 9: _BYTES},
    refused={
        6: "a subgraph",
        10: "a list of tensors",
        11: "subgraphs",
        14: "a type",
        15: "types",
        21: "an attribute of a function",
        22: "a sparse tensor",
        23: "sparse tensors",
    },
)
TENSOR: Final = Message(
    "a tensor",
    once={2: _NUMBER, 8: _BYTES, 9: _BYTES, 12: _BYTES, 14: _NUMBER},  # type, name, raw data, text, location
    many={1: _NUMBERS, 4: _FLOATS, 5: _NUMBERS, 7: _NUMBERS, 10: _DOUBLES, 11: _NUMBERS},
    refused={
        3: "a segment of a tensor",
        6: "text in a tensor",
        13: "weights outside the file",
        16: "metadata of a tensor",
    },
)
VALUE: Final = Message("a value", once={1: _BYTES, 2: _BYTES, 3: _BYTES}, refused={4: "metadata of a value"})
TYPE: Final = Message(
    "a type",
    once={1: _BYTES, 6: _BYTES},
    refused={4: "a sequence", 5: "a map", 7: "an opaque type", 8: "a sparse tensor", 9: "an optional"},
)
TENSOR_TYPE: Final = Message("a tensor's type", once={1: _NUMBER, 2: _BYTES})
SHAPE: Final = Message("a shape", many={1: _BYTES})
DIMENSION: Final = Message("a dimension", once={1: _NUMBER, 2: _BYTES, 3: _BYTES})
