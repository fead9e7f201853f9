from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from nip_export.attach.recover import recover_spec
from nip_export.defence.spec import ClassScale, Curve, DefenceSpec
from nip_runtime.errors import ArtifactError
from tests.export.made import Made, Workshop

TESTS = ("disagreement", "typicality", "response", "change")


def numbers(spec: DefenceSpec) -> dict[str, Any]:
    gate = spec.gate
    found: dict[str, Any] = {
        "bank": spec.bank.dense(),
        "screen": np.float32(np.nan if gate.screen_threshold is None else gate.screen_threshold),
        "flag": np.float32(gate.flag_threshold),
        "early_weight": np.float32(gate.early_weight),
        "typicality/weight": spec.typicality.weight,
        "typicality/bias": spec.typicality.bias,
        "typicality/centres": spec.typicality.centres,
    }
    for name in (f"{test}_scale" for test in TESTS):
        scale: ClassScale = getattr(gate, name)
        found |= {f"{name}/mean": scale.mean, f"{name}/inverse_std": scale.inverse_std}
    for name in (*(f"{test}_tail" for test in TESTS), "suspicion"):
        curve: Curve = getattr(gate, name)
        found |= {f"{name}/{part}": getattr(curve, part) for part in ("knots", "widths", "slopes")}
        found[f"{name}/base"] = np.float32(curve.base)
    for readout in spec.readouts:
        found |= {f"{readout.tap}/weight": readout.weight, f"{readout.tap}/bias": readout.bias}
    return found


def same(made: Made) -> None:
    spec = made.report.spec
    recovered = recover_spec(made.path, made.kinds)
    expected, got = numbers(spec), numbers(recovered)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], np.asarray(value, np.float32), err_msg=name)
    assert [(r.tap, r.kind, r.cells) for r in recovered.readouts] == [
        (r.tap, r.kind, r.cells) for r in spec.readouts
    ]
    assert (recovered.typicality.tap, recovered.typicality.kind) == (
        spec.typicality.tap,
        spec.typicality.kind,
    )
    for field in ("policy", "classes", "bounds", "view"):
        assert getattr(recovered, field) == getattr(spec, field), field
    assert recovered.bank.steps.shape == spec.bank.steps.shape
    assert (recovered.bank.factor, recovered.bank.shape) == (spec.bank.factor, spec.bank.shape)


def test_a_file_gives_back_the_defence_it_was_made_with(made: Made) -> None:
    same(made)


@pytest.mark.parametrize("policy", ["always", "detect"])
def test_so_it_does_under_every_policy(workshop: Workshop, policy: str) -> None:
    same(workshop.export("mlp", policy))


@pytest.mark.parametrize("view", ["mirror", "shift+bits+rho", "rho"])
def test_so_it_does_under_every_view(workshop: Workshop, view: str) -> None:
    same(workshop.export("vgg", view=view))


@pytest.mark.parametrize("policy", ["guarded", "always", "detect"])
def test_a_file_of_an_earlier_gate_is_refused(policy: str) -> None:
    old = Path(__file__).parents[1] / "goldens" / f"{policy}-1.2.onnx"
    with pytest.raises(
        ArtifactError, match=r"expected a file of manifest 1\.3 .* got manifest 1\.2.* export .* again"
    ):
        recover_spec(old, {})


def test_a_plain_file_is_refused(mlp: Made) -> None:
    with pytest.raises(ArtifactError, match="plain ONNX model"):
        recover_spec(mlp.plain_path, {})


def test_a_file_with_other_names_is_refused(
    mlp: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(str(mlp.path))
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "nip/flag_threshold"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    monkeypatch.setattr(onnx, "load", lambda path: model)
    with pytest.raises(ArtifactError, match="nip/flag_threshold"):
        recover_spec(mlp.path, mlp.kinds)
