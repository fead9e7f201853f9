"""The committed golden files are what their generator writes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nip_export.defence.views import parse_view
from nip_export.demo.example import load_example
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.container import read_container
from nip_runtime.file.manifest import Policy, ViewStep
from nip_runtime.file.names import DISAGREEMENT, FREE_SCORE, MANIFEST_KEY
from nip_runtime.session import DefendedSession
from tests.goldens.generate import EACH, MEAN, POLICY, START, STD, VIEWS, GoldenNet, generate, start

HERE = Path(__file__).parent
OLDER = (*(f"{policy}-1.2" for policy in Policy), "guarded-1.3")
"""Files as earlier manifests had them, which nothing writes any more."""
OF_SOUND = {ViewStep.DELAY, ViewStep.POLARITY}
"""No view of pictures has them: their graphs are compared in tests/maths."""
ANSWERS = ("logits", "raw_logits", "suspicion", "flagged", "candidate")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("goldens")
    generate(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix in (".onnx", ".npz")}


def pairs(names: Iterable[str]) -> set[str]:
    return {f"{name}.{end}" for name in names for end in ("onnx", "npz")}


def keys(value: Any) -> Any:
    """A document's keys, nested, without its values."""
    return {name: keys(inner) for name, inner in value.items()} if isinstance(value, dict) else None


@pytest.mark.slow
def test_the_generator_still_writes_the_same_contract(fresh: Path) -> None:
    assert files(fresh) == pairs(POLICY)
    assert files(HERE) == pairs(POLICY) | pairs(OLDER)
    for name, policy in POLICY.items():
        old, new = (read_container(folder / f"{name}.onnx") for folder in (HERE, fresh))
        assert (old.inputs, old.outputs) == (new.inputs, new.outputs)
        assert (old.opsets, old.ir_version) == (new.opsets, new.ir_version)
        before, after = (json.loads(c.metadata[MANIFEST_KEY]) for c in (old, new))
        assert before["policy"] == after["policy"] == policy
        assert keys(before) == keys(after)
        for unchanged in ("input", "output"):
            assert before[unchanged] == after[unchanged]
        assert before["defence"]["taps"] == after["defence"]["taps"]
        for unchanged in ("view", "rho", "typicality_layer", "centres"):
            assert before["gate"][unchanged] == after["gate"][unchanged]
        assert before["digests"]["profile_data"] == after["digests"]["profile_data"]


@pytest.mark.slow
def test_fresh_ones_agree_with_the_committed(fresh: Path) -> None:
    """The perturbations may differ a little on another processor, so not every answer must be the same."""
    for golden in POLICY:
        with np.load(HERE / f"{golden}.npz") as old, np.load(fresh / f"{golden}.npz") as new:
            assert old.files == new.files == ["images", "labels", *ANSWERS]
            for name in old.files:
                assert (old[name].dtype, old[name].shape) == (new[name].dtype, new[name].shape), name
            np.testing.assert_array_equal(old["images"], new["images"])
            np.testing.assert_allclose(old["raw_logits"], new["raw_logits"], rtol=0, atol=1e-3)
            for side in (old, new):
                assert (
                    side["raw_logits"].argmax(1)[:EACH].tolist()
                    != side["raw_logits"].argmax(1)[EACH:].tolist()
                )
            assert (old["labels"] == new["labels"]).mean() >= 0.95
            assert (old["raw_logits"].argmax(1) == new["raw_logits"].argmax(1)).mean() >= 0.95


@pytest.mark.slow
def test_training_and_attack_still_give_a_start() -> None:
    """Not the same numbers, which hang on the processor, but as good a network and as strong an attack."""
    example, model = load_example(), GoldenNet()
    made, kept = start(example), load_file(START)
    assert {name: (v.dtype, v.shape) for name, v in made.items()} == {
        name: (v.dtype, v.shape) for name, v in kept.items()
    }
    assert torch.equal(made["images"][:EACH], kept["images"][:EACH])
    attacked = made.pop("images")[EACH:]
    model.load_state_dict(made)

    def accuracy(images: torch.Tensor) -> float:
        with torch.no_grad():
            labels = model.eval()((images[:, None].float() / 255 - MEAN[0]) / STD[0]).argmax(1).numpy()
        return float((labels == example.test.labels[: len(images)]).mean())

    assert accuracy(torch.from_numpy(example.test.images)) > 0.55
    assert accuracy(attacked) < 0.2


@pytest.mark.parametrize("name", [*POLICY, *OLDER])
def test_the_committed_ones_show_every_kind_of_row(name: str) -> None:
    policy = POLICY[name.removesuffix("-1.2").removesuffix("-1.3")]
    with np.load(HERE / f"{name}.npz") as golden:
        flagged, raw = golden["flagged"], golden["raw_logits"].argmax(1)
        assert len(flagged) == 2 * EACH
        assert 0 < flagged[:EACH].sum() < flagged[EACH:].sum() < EACH
        changed = golden["labels"] != raw
    assert changed.any() == (policy is not Policy.DETECT)
    assert policy is not Policy.GUARDED or (changed[EACH:] & flagged[EACH:]).any()


def test_the_views_named_are_those_in_the_files_and_leave_out_no_step() -> None:
    found = set[ViewStep]()
    for name, spelled in VIEWS.items():
        gate = read_artifact(HERE / f"{name}.onnx").manifest.gate
        assert gate is not None
        assert parse_view(spelled) == (gate.view, gate.rho)
        assert gate.views_tried == ()
        found.update(gate.view)
    one_quality = {step for step in ViewStep if step.quality not in (None, 75)}
    assert found == set(ViewStep) - OF_SOUND - one_quality
    chosen = read_artifact(HERE / "guarded.onnx").manifest.gate
    assert chosen is not None
    assert (chosen.view, chosen.rho) in {(tried.view, tried.rho) for tried in chosen.views_tried}


@pytest.mark.parametrize("policy", list(Policy))
def test_files_of_manifest_1_2_look_at_disagreement_alone(policy: Policy) -> None:
    artifact = read_artifact(HERE / f"{policy}-1.2.onnx")
    assert (artifact.manifest.schema_version, artifact.manifest.gate) == ("1.2", None)
    computed = {name for node in artifact.container.nodes for name in node.outputs}
    assert DISAGREEMENT in computed
    assert FREE_SCORE not in computed


@pytest.mark.parametrize("engine", ["fused", "gated"])
@pytest.mark.parametrize("name", OLDER)
def test_files_of_earlier_manifests_still_answer_as_they_did(name: str, engine: str) -> None:
    path = HERE / f"{name}.onnx"
    manifest = read_artifact(path).manifest
    assert name.endswith(manifest.schema_version) and manifest.second_pass is None
    with (
        np.load(path.with_suffix(".npz")) as golden,
        DefendedSession(path, device="cpu", threads=1, engine=engine) as session,
    ):
        answers = session.predict(golden["images"])
        for name in ("labels", "flagged", "candidate"):
            np.testing.assert_array_equal(getattr(answers, name), golden[name], err_msg=name)
        for name in ("logits", "raw_logits", "suspicion"):
            np.testing.assert_allclose(
                getattr(answers, name), golden[name], rtol=0, atol=1e-4 * np.abs(golden[name]).max()
            )


def test_they_are_small() -> None:
    assert sum((HERE / name).stat().st_size for name in files(HERE)) <= 1_200_000
    assert START.stat().st_size <= 60_000
