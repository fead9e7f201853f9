"""The artefact profile: all that a defended file may be made of. What is not named here is refused.

It is what the exporter writes, and what it would write for a network of other layers. Enforced by
:mod:`nip_runtime.file.container` while it reads, and by :mod:`nip_runtime.file.artifact` on what was read,
before onnxruntime sees a byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most of everything. Generous: the largest network tried so far takes a tenth or less of each.

    Attributes:
        file_bytes: of a file; protobuf can't hold more in one message.
        manifest_bytes: of the manifest's JSON, and of any other metadata.
        manifest_depth: of objects and lists in each other in the manifest.
        metadata_entries: keys beside the manifest, and it.
        fields: protobuf fields in one file, each of which takes a step of the reader.
        nodes: operators in the graph.
        initializers: stored weights.
        node_values: inputs, and outputs, of one operator.
        attributes: of one operator.
        attribute_numbers: in one attribute.
        attribute_size: of one number that says how large something is (a kernel, a stride, a pad).
        rank: dimensions of a weight or value.
        name_bytes: of one name in UTF-8.
        subgraph_depth: of subgraphs in each other, where a plain model is described; here there are none.
        made_elements: values that one operator may make per sample out of numbers that the file states
            (`Expand`, `Pad`, `Tile`, `Resize`, …).
    """

    file_bytes: int = 2**31 - 1
    manifest_bytes: int = 4 << 20
    manifest_depth: int = 16
    metadata_entries: int = 64
    fields: int = 200_000
    nodes: int = 20_000
    initializers: int = 20_000
    node_values: int = 256
    attributes: int = 32
    attribute_numbers: int = 4096
    attribute_size: int = 4096
    rank: int = 12
    name_bytes: int = 1024
    subgraph_depth: int = 16
    made_elements: int = 1 << 26


LIMITS: Final = Limits()

IR_VERSIONS: Final = (8, 8)
"""Lowest and highest ONNX IR version."""

OPSETS: Final = (17, 17)
"""Lowest and highest version of the standard operator set, the only one there may be."""

DTYPES: Final = {
    "float32": 4, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "int32": 4, "int64": 8, "bool": 1,
    "float16": 2, "float64": 8, "uint32": 4, "uint64": 8,
}  # fmt: skip
"""Types that a value may have, with their bytes. No text, no complex numbers, no sequences or optionals."""

_ELEMENTWISE: Final = (
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh Cast CastLike Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp"
    " Floor Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log"
    " Max Mean Min Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh"
    " Softplus Softsign Sqrt Sub Sum Tan Tanh ThresholdedRelu Where Xor"
)
_REDUCING: Final = (
    "ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin"
    " ReduceProd ReduceSum ReduceSumSquare TopK"
)
_NORMALISING: Final = (
    "BatchNormalization Hardmax InstanceNormalization LRN LayerNormalization LogSoftmax LpNormalization"
    " MeanVarianceNormalization Softmax"
)
_LAYERS: Final = (
    "AveragePool Conv ConvTranspose Einsum GRU Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample"
    " LSTM LpPool MatMul MaxPool RNN"
)
_QUANTISING: Final = "DequantizeLinear QuantizeLinear"
_SHAPING: Final = (
    "Concat ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather GatherElements GatherND"
    " NonZero OneHot Pad Range Reshape Resize ReverseSequence ScatterElements ScatterND Shape Size Slice"
    " SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze"
)
_SIGNALS: Final = "DFT STFT"

OPERATORS: Final = frozenset(
    " ".join((_ELEMENTWISE, _REDUCING, _NORMALISING, _LAYERS, _QUANTISING, _SHAPING, _SIGNALS)).split()
)
"""Operators of the standard domain that a graph may have: plain arithmetic on tensors.

No control flow (If, Loop, Scan), no sequences, optionals, text or images, nothing random (Dropout and
Bernoulli among them), nothing of training, nothing of another domain, no model-local functions. No Constant:
the exporter stores constants as weights, where they can be looked at.
"""

FATAL_WHEN_EMPTY: Final = frozenset({"Einsum", "GRU", "LSTM", "RNN"})
"""Operators with which onnxruntime may end the process, not the run, when a batch has no rows: it divides by
zero, or gives up a thread."""

SIZES: Final = frozenset({"kernel_shape", "strides", "pads", "dilations", "output_padding", "output_shape"})
"""Attributes whose numbers say how large something is."""
