"""What a file takes and answers: layout and type of its input, which output holds the scores, how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nip_export.onnx_in.reading import Source
from nip_runtime.errors import ExportError

CHANNELS = (1, 3, 4)
"""Lengths of an axis that is taken for channels."""
FLOATS = (ir.DataType.FLOAT,)
REAL = (*FLOATS, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
POINTWISE = frozenset(("Add", "BatchNormalization", "Cast", "Clip", "Div", "Identity", "Mul", "Pad", "Sub"))
"""What may stand between the input and the first convolution, which then says how many channels there are."""
HANDED_ON = frozenset(("Cast", "Flatten", "Identity", "Reshape", "Squeeze"))
"""What may stand between a last softmax and the output."""
ENDINGS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Interface:
    """How the user's file is fed and read.

    Attributes:
        input: name of its input.
        output: name of the output that holds the scores.
        shape: per sample, as the export sees it: channels first.
        rows: number of rows that the file takes at once; None: any.
        channels_last: whether the file takes (N, H, W, C).
        is_uint8: whether it takes whole numbers in 0…255.
        is_bgr: whether it takes blue first.
        ending: "softmax" or "sigmoid", if the file's scores went through it and ours do not.
        binary: whether it answers one score z, of which (−z, z) is made.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    rows: int | None
    channels_last: bool
    is_uint8: bool
    is_bgr: bool
    ending: str | None
    binary: bool = False

    def given(self, x: Floats) -> NDArray[np.generic]:
        """Inputs (N, *shape), as the bare network takes them, in the form that the file takes."""
        if self.is_bgr:
            x = x[:, ::-1]
        if self.channels_last:
            x = x.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(np.rint(x * 255).astype(np.uint8) if self.is_uint8 else x)

    def answered(self, logits: Floats) -> NDArray[np.float64]:
        """What the file should answer, (N, C) or (N, 1), where these are the logits (N, C)."""
        scores = logits[:, 1:].astype(np.float64) if self.binary else logits.astype(np.float64)
        if self.ending == "sigmoid":
            return 1 / (1 + np.exp(-scores))
        if self.ending == "softmax":
            powers = np.exp(scores - scores.max(1, keepdims=True))
            return np.asarray(powers / powers.sum(1, keepdims=True))
        return scores


def dims(value: ir.Value) -> list[int | None]:
    """Lengths of a value's axes; None where the file leaves one open."""
    if value.shape is None:
        return []
    return [length if isinstance(length, int) and length > 0 else None for length in value.shape]


def interface_of(
    source: Source,
    graph: ir.Graph,
    *,
    output: str | int | None,
    shape: Sequence[int] | None,
    is_bgr: bool,
) -> Interface:
    """Find out how a file is fed and read.

    Args:
        source: the file, for messages.
        graph: its graph, from whose inputs the initializers are taken away.
        output: name or index of the output that holds the scores, if there are several.
        shape: per sample, channels first, or its last axes, for axes that the file leaves open.
        is_bgr: whether the file takes blue first.

    Raises:
        ExportError: several inputs, an input that is no array of float32 or uint8 with rows in front, axes
            left open that `shape` does not state, or no output of scores.
    """
    if len(graph.inputs) != 1:
        names = ", ".join(str(value.name) for value in graph.inputs)
        raise ExportError(f"{source.name} takes {len(graph.inputs)} inputs ({names}), expected one")
    (taken,) = graph.inputs
    kind = taken.dtype.name.lower() if taken.dtype is not None else "no stated type"
    if taken.dtype not in (*FLOATS, ir.DataType.UINT8):
        raise ExportError(
            f"{source.name} takes {kind}, expected float32, or uint8 with the scaling inside; convert the "
            "file to float32 first"
        )
    lengths = dims(taken)
    width = _first_width(taken)
    if taken.shape is None and width is not None:
        lengths = [None] * len(width)
    if len(lengths) < 2:
        raise ExportError(
            f"{source.name} takes an input with {len(lengths)} axes, expected rows in front of at least one "
            "other"
        )
    rows, *inner = lengths
    channels_last = len(inner) == 3 and inner[2] in CHANNELS and inner[0] not in CHANNELS
    if channels_last:
        inner = [inner[2], inner[0], inner[1]]
    if width is not None and len(width) == len(lengths) and None in inner and not channels_last:
        inner[0] = inner[0] or width[1]
    found = _stated(source, inner, shape)
    if is_bgr and (len(found) != 3 or found[0] != 3):
        raise ExportError(f"blue first needs inputs of 3 channels, {source.name} takes {found}")
    scores = _scores(source, graph, output)
    return Interface(
        input=str(taken.name),
        output=str(scores.name),
        shape=found,
        rows=rows,
        channels_last=channels_last,
        is_uint8=taken.dtype == ir.DataType.UINT8,
        is_bgr=is_bgr,
        ending=ending_of(scores)[0],
    )


def _stated(
    source: Source, inner: Sequence[int | None], shape: Sequence[int | None] | None
) -> tuple[int, ...]:
    """The shape per sample, out of what the file says and what the user says."""
    if shape is None:
        if None in inner:
            said = ", ".join("?" if length is None else str(length) for length in inner)
            raise ExportError(
                f"{source.name} leaves the size of its input open: ({said}) per sample, channels first; say "
                "it, with --size HxW or in shape"
            )
        return tuple(length for length in inner if length is not None)
    shape = (*inner[: max(0, len(inner) - len(shape))], *shape)
    fits = (
        None not in shape
        and len(shape) == len(inner)
        and all(length is None or length == stated for length, stated in zip(inner, shape, strict=False))
    )
    if not fits:
        said, asked = (", ".join("?" if each is None else str(each) for each in of) for of in (inner, shape))
        cure = "bring the images to the file's size"
        if len(shape) != len(inner):
            cure = "export it anew, to take what is asked for"
        elif None in shape:
            cure = "say all of it: from_onnx(…, shape=(C, H, W))"
        raise ExportError(
            f"{source.name} takes inputs ({said}) per sample, channels first, but ({asked}) was asked for; "
            f"{cure}"
        )
    return tuple(int(length) for length in shape if length is not None)


def _scores(source: Source, graph: ir.Graph, output: str | int | None) -> ir.Value:
    """The output that holds the scores."""
    names = [str(value.name) for value in graph.outputs]
    if output is not None:
        number = int(output) if str(output).isdecimal() else None
        for index, value in enumerate(graph.outputs):
            if value.name == output or index == number:
                return value
        raise ExportError(f"{source.name} has no output {output!r}; it has {', '.join(names)}")
    scores = [value for value in graph.outputs if before_widening(value).dtype in (None, *FLOATS)]
    real = [value for value in graph.outputs if value.dtype in REAL]
    if not scores and real:
        kinds = ", ".join(f"{value.name}: {value.dtype.name.lower()}" for value in real if value.dtype)
        raise ExportError(
            f"{source.name} answers in another precision ({kinds}), expected float32; convert the file to "
            "float32 first"
        )
    if not scores:
        raise ExportError(
            f"{source.name} answers with whole numbers alone ({', '.join(names)}), expected the scores of "
            "all classes; export it anew without the argmax"
        )
    if len(scores) > 1:
        raise ExportError(
            f"{source.name} has {len(scores)} outputs ({', '.join(str(value.name) for value in scores)}); "
            "say which holds the logits by its name or number in output (--output)"
        )
    return scores[0]


def _first_width(taken: ir.Value) -> tuple[int, ...] | None:
    """Shape of the weights (out, in, …) of the first convolution, groups counted in; None: not found."""
    at = [taken]
    for value in at:
        for node, index in value.uses():
            second = node.inputs[1] if len(node.inputs) > 1 else None
            weight = None if second is None else ir.convenience.get_const_tensor(second)
            if node.op_type == "Conv" and index == 0 and weight is not None:
                out, each, *kernel = weight.shape.numpy()
                group = node.attributes.get("group")
                return out, each * (1 if group is None else group.as_int()), *kernel
            if node.op_type in POINTWISE and index == 0:
                at.append(node.outputs[0])
    return None


def before_widening(value: ir.Value) -> ir.Value:
    """What a float64 output is widened from by a last Cast; any other value as it is."""
    node = value.producer()
    if value.dtype is not ir.DataType.DOUBLE or node is None or node.op_type != "Cast":
        return value
    inner = node.inputs[0]
    return value if inner is None or inner.dtype not in (None, *FLOATS) else inner


def ending_of(value: ir.Value) -> tuple[str | None, ir.Value]:
    """The last function before an output that makes probabilities of logits, and those logits."""
    at = value
    while (node := at.producer()) is not None and not node.domain and node.inputs[0] is not None:
        if node.op_type in ENDINGS:
            return ENDINGS[node.op_type], node.inputs[0]
        if node.op_type not in HANDED_ON:
            break
        at = node.inputs[0]
    return None, value
