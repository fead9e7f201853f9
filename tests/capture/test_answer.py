"""What a model returns, read as logits (N, C) or refused in one sentence."""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nip_export.attach.backbone import export_backbone
from nip_export.attach.writing import serialise, weights_digest
from nip_export.network import as_classifier, find_taps
from nip_runtime.errors import ExportError
from tests.models import conv_bn_relu, seeded

X = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """A network whose end is a function of features and logits."""

    def __init__(self, end: Callable[[Tensor, Tensor], object] | None = None, classes: int = 4) -> None:
        super().__init__()
        self.body, self.fc = nn.Sequential(*conv_bn_relu(3, 8), *conv_bn_relu(8, 8)), nn.Linear(8, classes)
        self.end = end

    def forward(self, x: Tensor) -> object:
        features = self.body(x).mean((2, 3))
        logits = self.fc(features)
        return logits if self.end is None else self.end(features, logits)


def net(end: Callable[[Tensor, Tensor], object] | None = None, *, classes: int = 4) -> nn.Module:
    return seeded(lambda: Net(end, classes))


def bare(*, classes: int = 4) -> Tensor:
    """The logits before whatever the end makes of them."""
    with torch.no_grad():
        logits: Tensor = net(classes=classes)(X)
    return logits


Pair = namedtuple("Pair", "hidden scores")


@dataclass
class Output:
    loss: None
    logits: Tensor


RETURNED: dict[str, tuple[Callable[[Tensor, Tensor], object], str | int | None, str]] = {
    "dict": (lambda f, z: {"logits": z}, None, "output logits"),
    "dict with more": (lambda f, z: {"hidden": f, "logits": z}, None, "output logits"),
    "dataclass": (lambda f, z: Output(None, z), None, "output logits"),
    "tuple by index": (lambda f, z: (f, z), 1, "output 1"),
    "namedtuple by name": (lambda f, z: Pair(f, z), "scores", "output scores"),
    "nested": (lambda f, z: {"heads": [f, z]}, "heads.1", r"output heads\.1"),
    "softmax": (lambda f, z: z.softmax(1), None, "ends in softmax: the file answers with the logits"),
    "softmax module": (lambda f, z: nn.Softmax(1)(z), None, "ends in softmax"),
    "sigmoid of several": (lambda f, z: torch.sigmoid(z), None, "ends in sigmoid"),
    "softmax in a tuple": (lambda f, z: (F.softmax(z, -1), f), 0, "ends in softmax"),
    "float64 end": (lambda f, z: z.double(), None, "float64 logits are narrowed"),
    "convolution's axes": (lambda f, z: z[:, :, None, None], None, "axes of length 1"),
}


@pytest.mark.parametrize("name", RETURNED)
def test_logits_are_found(name: str) -> None:
    end, output, note = RETURNED[name]
    model = net(end)
    found = as_classifier(model, X[:2], output=output)
    assert len(found.notes) >= 1
    assert re.search(note, "; ".join(found.notes))
    with torch.no_grad():
        assert torch.equal(found.model(X), bare())
    # Layers keep the model's own names, in the plan, in the graph and in the digest of its weights.
    plan = find_taps(found.model, X[:2])
    assert (plan.features, plan.early, plan.classifier) == ("body.5", ("body.2",), "fc")
    assert weights_digest(found.model) == weights_digest(model)


@pytest.mark.parametrize("name", ["dataclass", "softmax", "float64 end"])
def test_graph_answers_with_the_logits(name: str) -> None:
    end, output, _ = RETURNED[name]
    found = as_classifier(net(end), X[:2], output=output)
    backbone = export_backbone(found.model, X[:2], ["body.2"])
    assert "fc.weight" in backbone.model.graph.initializers
    session = onnxruntime.InferenceSession(serialise(backbone.model), providers=["CPUExecutionProvider"])
    (logits,) = session.run([backbone.logits], {backbone.input: X.numpy()})
    np.testing.assert_allclose(logits, bare().numpy(), rtol=1e-4, atol=1e-5)


def test_nothing_to_do_leaves_the_model_itself() -> None:
    model = net()
    found = as_classifier(model, X)
    assert found.model is model and found.notes == ()


def test_log_softmax_is_said_and_kept() -> None:
    model = net(lambda f, z: F.log_softmax(z, 1))
    found = as_classifier(model, X)
    assert found.model is model
    assert "ends in log-softmax: its values are taken as logits" in found.notes[0]


@pytest.mark.parametrize(
    "end",
    [
        lambda f, z: z,
        lambda f, z: z[:, 0],
        lambda f, z: torch.sigmoid(z),
        lambda f, z: torch.sigmoid(z).flatten(),
    ],
    ids=["(N, 1)", "(N,)", "sigmoid (N, 1)", "sigmoid (N,)"],
)
def test_one_logit_becomes_two_classes(end: Callable[[Tensor, Tensor], object]) -> None:
    found = as_classifier(net(end, classes=1), X)
    z = bare(classes=1)
    with torch.no_grad():
        logits = found.model(X)
    torch.testing.assert_close(logits, torch.cat((-z, z), 1), rtol=0, atol=0)
    assert any("two classes" in note for note in found.notes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_copied_to_float32(dtype: torch.dtype) -> None:
    model = net().to(dtype)
    found = as_classifier(model, X)
    assert found.notes == (f"the model's {str(dtype)[6:]} weights are exported as float32",)
    assert all(p.dtype is dtype for p in model.parameters()), "the user's model stays as it was"
    with torch.no_grad():
        torch.testing.assert_close(found.model(X), bare(), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("model", "output", "message"),
    [
        (net(lambda f, z: (f, z)), None, r"returns 2 tensors, 0 \(N, 8\), 1 \(N, 4\).*in output"),
        (net(lambda f, z: (f, z)), 2, r"no output 2; it returns 0 \(N, 8\), 1 \(N, 4\)"),
        (net(lambda f, z: {"a": f, "b": z}), "c", "no output 'c'; it returns a"),
        (net(lambda f, z: None), None, "got NoneType without a tensor"),
        (net(lambda f, z: z.argmax(1)), None, r"got torch.int64 of shape \(3,\).*instead of class numbers"),
        (
            net(lambda f, z: z[:, :, None, None].expand(-1, -1, 2, 2)),
            None,
            r"got \(3, 4, 2, 2\) for 3 images",
        ),
        (net(lambda f, z: (z.softmax(1) + z.flip(0).softmax(1)) / 2), None, "returns probabilities"),
    ],
)
def test_what_holds_no_logits_is_refused(model: nn.Module, output: str | int | None, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        as_classifier(model, X, output=output)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_traced_and_scripted_models_are_refused() -> None:
    traced = torch.jit.trace(net(), X)  # type: ignore[no-untyped-call]
    with pytest.raises(ExportError, match="it is scripted or traced; pass the Python module"):
        as_classifier(traced, X)
    scripted = torch.jit.script(nn.Sequential(*conv_bn_relu(3, 8)))
    with pytest.raises(ExportError, match="its layer '0' is scripted or traced"):
        as_classifier(nn.Sequential(scripted, nn.Flatten()), X)


@pytest.mark.filterwarnings("ignore:torch:DeprecationWarning", "ignore:.*quant:UserWarning")
def test_fake_quantisation_is_left_out() -> None:
    from torch.ao.quantization import disable_fake_quant, get_default_qat_qconfig, prepare_qat

    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    model = seeded(lambda: nn.Sequential(*conv_bn_relu(3, 8), *conv_bn_relu(8, 8), *head)).train()
    model.qconfig = get_default_qat_qconfig("x86")  # type: ignore[no-untyped-call]
    prepared: nn.Module = prepare_qat(model)  # type: ignore[no-untyped-call]
    prepared(X)
    found = as_classifier(prepared.eval(), X)
    assert "precision int8 quantises it anew" in found.notes[0]
    with torch.no_grad():
        rounded = prepared(X)
        wanted = prepared.apply(disable_fake_quant)(X)
        torch.testing.assert_close(found.model(X), wanted)
        assert not torch.equal(wanted, rounded)
    plan = find_taps(found.model, X)
    assert (plan.features, plan.early, plan.classifier) == ("6", ("2",), "8")
    assert [layer for layer, _ in export_backbone(found.model, X, plan.names).taps] == ["2", "6"]


@pytest.mark.filterwarnings("ignore:torch:DeprecationWarning", "ignore:.*quant:UserWarning")
def test_quantised_model_is_refused() -> None:
    quantised = torch.ao.quantization.quantize_dynamic(net(), {nn.Linear})  # type: ignore[no-untyped-call]
    with pytest.raises(
        ExportError, match=r"quantised: its layer 'fc' is .*; pass the float model, and precision"
    ):
        as_classifier(quantised, X)


def test_compiled_model_is_taken_for_what_was_compiled() -> None:
    model = net()
    assert as_classifier(torch.compile(model, backend="eager"), X).model is model  # type: ignore[arg-type]
