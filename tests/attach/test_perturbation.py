"""Looking up a stored perturbation in the graph: what onnxruntime widens is what the bank says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from nip_export.attach.editor import GraphEditor
from nip_export.attach.response import perturbation
from nip_export.defence.spec import Bank, ClassScale, Curve, DefenceSpec, Gate, ReadOut, Typicality
from nip_export.fit.perturbations import quantise
from nip_export.fit.perturbations.bank import coarse_shape
from nip_export.network import TapKind
from nip_runtime.file.manifest import Policy
from nip_runtime.file.names import BATCH_AXIS, HYPOTHESIS
from tests.attach.exported import run, serialize

EPS = 8 / 255


def spec_of(bank: Bank, policy: Policy) -> DefenceSpec:
    """A defence of which only bank and policy are looked at."""
    classes = len(bank.steps) if policy is Policy.ALWAYS else 3
    one, ones = np.zeros((1, 1), np.float32), np.ones(1, np.float32)
    scale, curve = ClassScale(one, one + 1), Curve(0.0, ones, ones, ones)
    gate = Gate(
        disagreement_scale=scale,
        disagreement_tail=curve,
        typicality_scale=scale,
        typicality_tail=curve,
        response_scale=scale,
        response_tail=curve,
        change_scale=scale,
        change_tail=curve,
        early_weight=0.2,
        screen_threshold=None,
        flag_threshold=1.0,
        suspicion=curve,
    )
    readout = ReadOut(
        "layer", TapKind.VECTOR, 1, np.zeros((1, classes), np.float32), np.zeros(classes, np.float32)
    )
    typicality = Typicality("features", TapKind.VECTOR, one, ones, one)
    return DefenceSpec(policy, classes, (0.0, 1.0), (readout,), typicality, gate, (), bank)


def looked_up(bank: Bank, policy: Policy) -> bytes:
    """A model from hypothesis (N,) to perturbation."""
    hypothesis = ir.val(HYPOTHESIS, dtype=ir.DataType.INT64, shape=ir.Shape([BATCH_AXIS]))
    graph = ir.Graph([hypothesis], [], nodes=[], name="lookup", opset_imports={"": 17})
    editor = GraphEditor(graph, scope="nip/response")
    result = editor.op("Identity", [perturbation(editor, spec_of(bank, policy))], name="found")
    result.dtype = ir.DataType.FLOAT
    result.shape = ir.Shape([BATCH_AXIS if policy is Policy.ALWAYS else 1, *bank.shape])
    graph.outputs.append(result)
    return serialize(ir.Model(graph, ir_version=8))


def bank_of(shape: tuple[int, ...], rows: int, factor: int | None = None) -> Bank:
    values = np.random.default_rng(0).uniform(-EPS, EPS, (rows, *coarse_shape(shape, factor)))
    return quantise(values.astype(np.float32), eps=EPS, shape=shape, factor=factor)


@pytest.mark.parametrize(
    ("shape", "rows", "factor"),
    [
        ((3, 224, 224), 1000, None),
        ((3, 70, 65), 5, None),
        ((1, 28, 28), 10, None),
        ((1, 28, 28), 10, 3),
        ((2, 9, 5), 4, 8),
        ((7,), 6, None),
        ((2, 3, 70, 70), 2, None),
    ],
    ids=str,
)
def test_every_class_gets_its_own_perturbation(shape: tuple[int, ...], rows: int, factor: int | None) -> None:
    bank = bank_of(shape, rows, factor)
    model = looked_up(bank, Policy.ALWAYS)
    onnx.checker.check_model(onnx.load_from_string(model))
    wanted = np.array([rows - 1, 0, rows // 2, 0], np.int64)
    found = run(model, **{HYPOTHESIS: wanted})["found"]
    expected = replace(bank, steps=bank.steps[wanted]).dense()
    assert found.shape == (4, *shape) and found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_the_graph_of_a_thousand_classes_holds_the_bank_once_in_bytes() -> None:
    model = looked_up(bank_of((3, 224, 224), 1000), Policy.ALWAYS)
    assert 9_408_000 < len(model) < 9_410_000 <= 12e6


@pytest.mark.parametrize("policy", [Policy.GUARDED, Policy.DETECT])
def test_a_universal_perturbation_is_one_row_for_all(policy: Policy) -> None:
    bank = bank_of((3, 70, 65), 1)
    model = looked_up(bank, policy)
    found = run(model, **{HYPOTHESIS: np.zeros(0, np.int64)})["found"]
    np.testing.assert_array_equal(found, bank.dense())
