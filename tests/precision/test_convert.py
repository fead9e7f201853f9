"""Conversions of graphs that the example does not have."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nip_export.attach.backbone import export_backbone, with_taps
from nip_export.attach.writing import serialise
from nip_export.precision import convert_backbone
from nip_export.verify.compare import Answers, compare
from nip_export.verify.tolerance import EXACT, HALF
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Precision
from tests.precision.made import open_session

INPUTS = np.random.default_rng(0).random((40, 6, 8), np.float32)


class Attention(nn.Module):
    """One head over six tokens, with a residual and a LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.mixed = nn.LayerNorm(8), nn.Linear(8, 24)
        self.classifier = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        queries, keys, values = self.mixed(self.norm(tokens)).split(8, -1)
        weights = (queries @ keys.transpose(1, 2)).softmax(-1)
        logits: Tensor = self.classifier((tokens + weights @ values).mean(1))
        return logits


def test_the_tools_load_on_demand() -> None:
    # Among other things because onnxruntime's put a folder of their own on the path for modules.
    code = """
import sys
import nip_export.pipeline
assert not [name for name in sys.modules if name.startswith(("onnxruntime.quant", "onnxruntime.transf"))]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_attention_converts_and_takes_no_rows(precision: Precision) -> None:
    backbone = export_backbone(Attention().eval(), torch.from_numpy(INPUTS[:2]), ["norm"])
    converted = convert_backbone(backbone, precision, INPUTS)
    session, original = open_session(serialise(converted.model)), open_session(serialise(backbone.model))
    ours, theirs = (s.run(["logits"], {"input": INPUTS})[0] for s in (session, original))
    assert 0 < np.abs(ours - theirs).max() < 0.05
    (none,) = session.run(["logits"], {"input": INPUTS[:0]})
    assert none.shape == (0, 3)
    if precision is Precision.INT8:
        # Products of activations are left alone: what feeds them is not quantised.
        counts = Counter(node.op_type for node in converted.model.graph)
        assert counts["MatMul"] + counts["Gemm"] >= 4
        softmax = next(node for node in converted.model.graph if node.op_type == "Softmax")
        assert {user.node.op_type for user in softmax.outputs[0].uses()} == {"MatMul"}


def test_taps_can_be_dropped_and_not_invented() -> None:
    backbone = export_backbone(Attention().eval(), torch.from_numpy(INPUTS[:2]), ["norm", "mixed"])
    fewer = with_taps(backbone, ["norm"])
    assert [name for name, _ in fewer.taps] == ["norm"]
    assert len(backbone.model.graph.outputs) == 3, "the original stays"
    with pytest.raises(ExportError, match="without the taps classifier"):
        with_taps(backbone, ["classifier"])


def answers(raw: float, suspicion: float) -> Answers:
    logits = np.array([[raw, 0.0]])
    return Answers("this", logits, logits, np.array([suspicion]), np.array([False]), np.array([1], np.int64))


def test_fp16_is_compared_less_strictly_than_the_rest() -> None:
    rows, reference = np.array([True]), answers(10.0, 0.5)
    for shifted in (answers(10.01, 0.5), answers(10.0, 0.52)):
        compare(shifted, reference, rows, tolerance=HALF)
        with pytest.raises(ExportError, match=r"differs from this by|by 0.02 in suspicion"):
            compare(shifted, reference, rows, tolerance=EXACT)
    with pytest.raises(ExportError, match="differs from this by"):
        compare(answers(10.05, 0.5), reference, rows, tolerance=HALF)
