"""Parts of a file compute what the whole file computes, with the very same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from nip_runtime.errors import ArtifactError
from nip_runtime.file import names
from nip_runtime.file.artifact import opened, read_artifact
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.parts import can_be_cut, cut_parts, has_screen, plain_part, screen_statistic

GOLDENS = Path(__file__).parents[1] / "goldens"
NAMES = tuple(sorted(path.stem for path in GOLDENS.glob("*.onnx")))
"""Golden files of every policy, of every view, and as manifest 1.2 had them."""


def golden(name: str) -> tuple[Path, np.ndarray[Any, np.dtype[np.float32]]]:
    images = np.load(GOLDENS / f"{name}.npz")["images"]
    return GOLDENS / f"{name}.onnx", (images.reshape(-1, 1, 28, 28) / np.float32(255)).astype(np.float32)


def session(model: bytes | str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options)


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_part_is_the_backbone_alone(name: str) -> None:
    path, images = golden(name)
    part = plain_part(Sliceable(path.read_bytes()), read_artifact(path).manifest)
    model = onnx.load_from_string(part.content)
    onnx.checker.check_model(model)
    assert not any(node.name.startswith("nip/") for node in model.graph.node)
    assert not model.metadata_props
    (logits,) = session(part.content).run(None, {"input": images})
    whole = session(str(path)).run([names.RAW_LOGITS], {"input": images})
    np.testing.assert_array_equal(logits, whole[0])


@pytest.mark.parametrize("name", NAMES)
def test_parts_share_nothing_but_the_backbone_once(name: str) -> None:
    path, _ = golden(name)
    parts = cut_parts(Sliceable(path.read_bytes()), read_artifact(path).manifest)
    models = {
        part: onnx.load_from_string(getattr(parts, part).content) for part in ("look", "perturb", "judge")
    }
    for model in models.values():
        onnx.checker.check_model(model)
        assert not any(node.name.startswith(names.SECOND_PASS) for node in model.graph.node)
        used = {name for node in model.graph.node for name in node.input}
        assert {initializer.name for initializer in model.graph.initializer} <= used
    convolutions = {part: sum(n.op_type == "Conv" for n in m.graph.node) for part, m in models.items()}
    assert convolutions == {"look": 3, "perturb": 0, "judge": 0}
    assert parts.screened == (not name.startswith("always"))
    stored = {tensor.name for tensor in models["perturb"].graph.initializer}
    gate = read_artifact(path).manifest.gate
    assert (names.BANK in stored) == (gate is None or gate.rho)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_check_has_read_is_cut_alike(name: str) -> None:
    content = golden(name)[0].read_bytes()
    with opened(content) as (artifact, checked):
        read = Sliceable(checked, artifact.container)
    assert cut_parts(read, artifact.manifest) == cut_parts(Sliceable(content), artifact.manifest)


@pytest.mark.parametrize("name", NAMES)
def test_the_screen_looks_at_what_the_files_version_has(name: str) -> None:
    model = Sliceable(golden(name)[0].read_bytes())
    older = name.endswith("-1.2")
    assert screen_statistic(model) == (names.DISAGREEMENT if older else names.FREE_SCORE)
    assert screen_statistic(model) in cut_parts(model, read_artifact(golden(name)[0]).manifest).look.outputs


def test_a_part_needs_all_its_inputs() -> None:
    path, _ = golden("guarded")
    model = Sliceable(path.read_bytes())
    with pytest.raises(ArtifactError, match="outputs that follow from nip/rows, got a need of"):
        model.part([names.ROWS], [names.PERTURBED])
    with pytest.raises(ArtifactError, match="values named nip/nowhere"):
        model.part(["input"], ["nip/nowhere"])
    with pytest.raises(ArtifactError, match="values named nowhere"):
        model.part(["nowhere"], [names.RAW_LOGITS])
    assert model.needed(["input", names.HYPOTHESIS, names.ROWS], [names.PERTURBED]) == ("input", names.ROWS)


def test_a_constant_can_be_replaced() -> None:
    path, images = golden("guarded")
    model = Sliceable(path.read_bytes())
    counts = []
    for cut in (np.inf, -np.inf):
        changed = model.with_constant(names.SCREEN_THRESHOLD, np.array(cut, np.float32))
        assert Sliceable(changed).constant(names.SCREEN_THRESHOLD) != model.constant(names.SCREEN_THRESHOLD)
        look = Sliceable(changed).part(["input"], [names.SCREENED])
        (screened,) = session(look).run(None, {"input": images})
        counts.append(int(screened.sum()))
    assert counts == [0, len(images)]
    with pytest.raises(ArtifactError, match="an initializer named nip/nothing here"):
        model.with_constant("nip/nothing here", np.zeros(1, np.float32))


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(ArtifactError, match="a whole ONNX model"):
        Sliceable(b"\x0a\xff\xff\xff").part(["input"], ["logits"])


@pytest.mark.parametrize(
    ("name", "statistic"), [("guarded", names.FREE_SCORE), ("guarded-1.2", names.DISAGREEMENT)]
)
def test_a_file_without_the_values_to_cut_at_is_told(name: str, statistic: str) -> None:
    path, _ = golden(name)
    model = onnx.load(str(path))
    for node in model.graph.node:
        for values in (node.input, node.output):
            for i, value in enumerate(values):
                if value == statistic:
                    values[i] = "nip/renamed"
    older = Sliceable(model.SerializeToString())
    assert has_screen(older)
    assert not can_be_cut(older)
    with pytest.raises(ArtifactError, match="export the model again with this version, or use engine fused"):
        cut_parts(older, read_artifact(path).manifest)
