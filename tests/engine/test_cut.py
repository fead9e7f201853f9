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
from nip_runtime.run.engine.cut import Sliceable, read_numbers
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


@pytest.mark.parametrize("name", NAMES)
def test_a_part_says_of_itself_what_the_file_says(name: str) -> None:
    """Versions and producer, and the types of all values within: those of no other."""
    path, _ = golden(name)
    whole = onnx.load(str(path))
    stated = {value.name: value for value in whole.graph.value_info}
    parts = cut_parts(Sliceable(path.read_bytes()), read_artifact(path).manifest)
    for part in (parts.look, parts.perturb, parts.judge):
        model = onnx.load_from_string(part.content)
        for field in ("ir_version", "producer_name", "producer_version", "opset_import"):
            assert getattr(model, field) == getattr(whole, field), field
        computed = {name for node in model.graph.node for name in node.output}
        within = {value.name: value for value in model.graph.value_info}
        assert within == {name: stated[name] for name in computed & stated.keys() - {*part.outputs}}
        assert within


def test_values_whose_type_the_file_does_not_state_can_be_computed() -> None:
    path, images = golden("guarded")
    whole = onnx.load(str(path))
    del whole.graph.value_info[:]
    part = Sliceable(whole.SerializeToString()).part(["input"], [names.SCREENED, names.EARLY])
    model = onnx.load_from_string(part)
    assert [value.name for value in model.graph.output] == [names.SCREENED, names.EARLY]
    stated = Sliceable(path.read_bytes()).part(["input"], [names.SCREENED, names.EARLY])
    for found, wanted in zip(
        *(session(each).run(None, {"input": images}) for each in (part, stated)), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_shapes_are_those_that_the_file_states() -> None:
    path, _ = golden("guarded")
    whole = onnx.load(str(path))
    dim = whole.graph.output[0].type.tensor_type.shape.dim
    dim[0].Clear()
    del whole.graph.output[1].type.tensor_type.shape.dim[:]
    whole.graph.output[2].type.tensor_type.ClearField("shape")
    model = Sliceable(whole.SerializeToString())
    assert model.stated_shape("input") == ("N", 1, 28, 28)
    assert model.stated_shape("features.3.weight") == (16, 8, 3, 3)
    assert model.stated_shape(whole.graph.output[0].name) == (None, 10), "an unknown length"
    assert model.stated_shape(whole.graph.output[1].name) == (), "a single number"
    assert model.stated_shape(whole.graph.output[2].name) is None
    assert model.stated_shape("nip/nowhere") is None


def test_numbers_are_read_as_they_are_stored() -> None:
    path, _ = golden("always")
    model = Sliceable(path.read_bytes())
    stored = {tensor.name: tensor for tensor in onnx.load(str(path)).graph.initializer}
    for name, dtype in (("classifier.weight", np.float32), ("nip/classes", np.int64), (names.BANK, np.int8)):
        found = read_numbers(model.constant(name), dtype)
        np.testing.assert_array_equal(found, onnx.numpy_helper.to_array(stored[name]).ravel())
    typed = onnx.helper.make_tensor("typed", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    with pytest.raises(ArtifactError, match="raw data in an initializer, got another encoding"):
        read_numbers(typed.SerializeToString(), np.float32)
    with pytest.raises(ArtifactError, match="an initializer named nip/nowhere"):
        model.constant("nip/nowhere")


def test_only_what_says_so_is_stored_as_float32() -> None:
    path, _ = golden("always")
    whole = onnx.load(str(path))
    whole.graph.initializer.append(onnx.TensorProto(name="nip/undefined", data_type=0, dims=[0]))
    model = Sliceable(whole.SerializeToString())
    stored = {tensor.name: tensor.data_type for tensor in whole.graph.initializer}
    assert {onnx.TensorProto.UNDEFINED, onnx.TensorProto.INT8, onnx.TensorProto.INT64} < {*stored.values()}
    assert {name for name in stored if model.stores_float32(name)} == {
        name for name, kind in stored.items() if kind == onnx.TensorProto.FLOAT
    }
    assert not model.stores_float32("input") and not model.stores_float32("nip/nowhere")


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
