"""Pass 1's tests in the graph: whether early layers disagree, and whether the features are typical.

Every operator here runs on every row of every batch, so there are as few as the definition allows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from nip_export.attach.editor import GraphEditor
from nip_export.attach.pooling import pool
from nip_export.defence.spec import DefenceSpec, ReadOut
from nip_export.network.grain import BEND_WEIGHT, COLOURS, SIDE
from nip_runtime.file import names
from nip_runtime.file.manifest import Policy
from nip_runtime.file.names import BATCH_AXIS

BOOL = ir.DataType.BOOL
INT64 = ir.DataType.INT64


def weights(editor: GraphEditor, readout: ReadOut) -> ir.Value:
    """The read-out's weights (D, C) float32; runtimes compute those stored in int8 once, when they load."""
    scope = f"readout/{readout.tap}"
    if readout.step_size is None:
        return editor.constant(f"{scope}/weight", readout.weight)
    steps = editor.constant(f"{scope}/steps", readout.steps, np.int8)
    floats = editor.op("Cast", [steps], {"to": int(ir.DataType.FLOAT)}, dtype=ir.DataType.FLOAT)
    return editor.op("Mul", [floats, editor.constant(f"{scope}/step_size", readout.step_size)])


class ReadOutPass(ir.passes.InPlacePass):
    """Add predicted class, early evidence and free score; under a screen, who takes the second pass.

    Rows that the screen lets pass get their suspicion and candidate here too: nothing after this pass
    concerns them. Needs the raw logits, and the tapped activations of read-outs and features, in the graph.

    Args:
        spec: the defence.
        taps: per layer the name of its value and its per-sample shape.
        input_name: the graph's input.
    """

    def __init__(
        self, spec: DefenceSpec, taps: Mapping[str, tuple[str, tuple[int, ...]]], *, input_name: str
    ) -> None:
        super().__init__()
        self.spec = spec
        self.taps = taps
        self.input_name = input_name

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Append the operators."""
        editor = GraphEditor(model.graph, scope="nip/readout")
        gate = self.spec.gate
        predicted = editor.op(
            "ArgMax",
            [editor.value(names.RAW_LOGITS)],
            {"axis": 1, "keepdims": 1},
            name=names.PREDICTED,
            dtype=INT64,
            shape=[BATCH_AXIS, 1],
        )
        is_predicted = editor.is_class(predicted, self.spec.classes, name=f"{names.PREDICTED}_column")
        early = self._evidence(editor)
        if self.spec.policy is Policy.ALWAYS:
            editor.op(
                "ArgMax",
                [early],
                {"axis": 1, "keepdims": 0},
                name=names.HYPOTHESIS,
                dtype=INT64,
                shape=[BATCH_AXIS],
            )
        others = editor.without(early, is_predicted)
        disagreement = editor.standardise(
            editor.op("Sub", [editor.largest(others), editor.own(early, predicted)]),
            gate.disagreement_scale,
            predicted,
            label="disagreement",
        )
        distance = editor.standardise(
            self._distance(editor), gate.typicality_scale, predicted, label="typicality"
        )
        free = [
            editor.curve(disagreement, gate.disagreement_tail, label="disagreement_tail"),
            editor.curve(distance, gate.typicality_tail, label="typicality_tail"),
        ]
        editor.op("Add", free, name=names.FREE_SCORE, shape=[BATCH_AXIS, 1])
        if gate.screen_threshold is not None:
            self._screen(editor, gate.screen_threshold, others)
        return ir.passes.PassResult(model, modified=True)

    def _evidence(self, editor: GraphEditor) -> ir.Value:
        opinions = []
        if not self.spec.readouts:  # the network's own doubt
            raw = editor.value(names.RAW_LOGITS)
            opinions.append(editor.op("LogSoftmax", [raw], {"axis": 1}, name=names.EARLY))
        for readout in self.spec.readouts:
            value, shape = self.taps[readout.tap]
            pooled = pool(editor, readout.tap, editor.value(value), readout.kind, shape, cells=readout.cells)
            bias = editor.constant(f"readout/{readout.tap}/bias", readout.bias)
            scores = editor.op("Gemm", [pooled, weights(editor, readout), bias])
            name = names.EARLY if len(self.spec.readouts) == 1 else None
            opinions.append(editor.op("LogSoftmax", [scores], {"axis": 1}, name=name))
        early = opinions[0] if len(opinions) == 1 else editor.op("Mean", opinions, name=names.EARLY)
        early.shape = ir.Shape([BATCH_AXIS, self.spec.classes])
        return early

    def _distance(self, editor: GraphEditor) -> ir.Value:
        """Distance (N, 1) of the features to the nearest centre; squares are expanded into products."""
        typicality = self.spec.typicality
        value, shape = self.taps[typicality.tap]
        features = pool(editor, typicality.tap, editor.value(value), typicality.kind, shape, cells=1)
        stored = {
            "weight": typicality.weight,
            "bias": typicality.bias,
            "centres": -2 * typicality.centres.T,
            "squares": np.square(typicality.centres.astype(np.float64)).sum(1),
        }
        weight, bias, centres, squares = (
            editor.constant(f"typicality_{name}", values) for name, values in stored.items()
        )
        whitened = editor.op("Gemm", [features, weight, bias])
        apart = editor.op("Gemm", [whitened, centres, squares])
        nearest = editor.op("ReduceMin", [apart], {"axes": [1], "keepdims": 1})
        own = editor.op("ReduceSumSquare", [whitened], {"axes": [1], "keepdims": 1})
        # Rounding may carry the sum below 0.
        square = editor.op("Max", [editor.op("Add", [own, nearest]), editor.constant("zero", 0.0)])
        return editor.op("Sqrt", [square])

    def _sight(self, editor: GraphEditor, free: ir.Value) -> ir.Value:
        """What the screen looks at (N, 1)."""
        tail = self.spec.gate.grain_tail
        if tail is None:
            return free
        _, height, width = self.spec.bank.shape
        plane = [0, 1, 2 * (height - SIDE + 1), width - SIDE + 1]
        # Both colour differences as one plane, for a pool sums every plane by itself: ReduceMean may round by
        # where in the batch a row stands, and the sum of squared roots takes a fifth more time.
        sizes = editor.op("Abs", [self._bends(editor)])
        joined = editor.op("Reshape", [sizes, editor.constant("grain_plane", plane, np.int64)])
        mean = editor.op("Flatten", [editor.op("GlobalAveragePool", [joined])], {"axis": 1})
        grain = editor.op("Mul", [mean, editor.constant("grain_share", 1 / BEND_WEIGHT)])
        curve = editor.curve(grain, tail, label="grain_tail")
        return editor.op("Add", [free, curve], name=names.SIGHT, shape=[BATCH_AXIS, 1])

    def _bends(self, editor: GraphEditor) -> ir.Value:
        """Second differences along rows and columns of red and blue less green (N, 2, H − 2, W − 2), times 4.

        Differences of differences: at 224² half the time of a convolution with so few channels.
        """

        def part(values: ir.Value, axis: int, start: int, stop: int, step: int = 1) -> ir.Value:
            numbers = {"from": start, "to": stop, "axis": axis, "step": step}
            stored = [
                editor.constant(f"grain_{what}_{number}", [number], np.int64)
                for what, number in numbers.items()
            ]
            return editor.op("Slice", [values, *stored])

        image = editor.value(self.input_name)
        found = editor.op("Sub", [part(image, 1, 0, COLOURS, 2), part(image, 1, 1, 2)])
        for axis, length in zip((2, 3), self.spec.bank.shape[1:], strict=True):
            for left in (length, length - 1):
                found = editor.op("Sub", [part(found, axis, 1, left), part(found, axis, 0, left - 1)])
        return found

    def _screen(self, editor: GraphEditor, threshold: float, others: ir.Value) -> None:
        """Who takes the second pass, and the answers of those who do not."""
        cut = editor.constant("screen_threshold", threshold)
        # Negated, so that NaN takes the second pass, as in the oracle.
        free = editor.value(names.FREE_SCORE)
        calm = editor.op("LessOrEqual", [self._sight(editor, free), cut], dtype=BOOL)
        editor.op("Not", [calm], name=names.SCREENED, shape=[BATCH_AXIS, 1])
        # Their score is the free tests' alone.
        rank = editor.curve(free, self.spec.gate.suspicion, label="suspicion", flat=True)
        # Rounding must not carry the sum of the curve's steps past 1.
        one = editor.constant("one", 1.0)
        editor.op("Min", [rank, one], name=names.CALM_SUSPICION, shape=[BATCH_AXIS])
        editor.op(
            "ArgMax",
            [others],
            {"axis": 1, "keepdims": 0},
            name=names.CALM_CANDIDATE,
            dtype=INT64,
            shape=[BATCH_AXIS],
        )
