from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from nip_export.attach.backbone import export_backbone
from nip_export.attach.clone import CloneSubgraphPass, clone_backbone
from nip_runtime.errors import ExportError
from tests.attach.exported import backbone_of, exported_bytes, fresh_model, plan_of, run, serialize
from tests.attach.two_pass import append_selected_rows, two_passes
from tests.models import CASES, ModelCase, SmallResNet, case, seeded


@pytest.mark.parametrize("net", CASES, ids=lambda net: net.name)
def test_second_pass_equals_the_plain_model_on_selected_rows(net: ModelCase) -> None:
    model = fresh_model(net.name)
    taps = [value for _, value in backbone_of(net.name).taps]
    clones = two_passes(model, ["logits", *taps])
    data = serialize(model)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    x = net.batch(7).numpy()
    for rows in ([], [3], [0, 2, 5, 6]):
        outputs = run(data, input=x, rows=np.array(rows, np.int64))
        plain = run(exported_bytes(net.name), input=x[rows])
        whole = run(exported_bytes(net.name), input=x)
        for name, clone in clones.items():
            assert clone.name is not None
            np.testing.assert_array_equal(outputs[clone.name], plain[name])
            np.testing.assert_array_equal(outputs[name], whole[name])


@pytest.mark.parametrize("name", ["vgg", "vit"])
def test_copies_keep_types_and_shapes_under_the_new_symbol(name: str) -> None:
    model = fresh_model(name)
    originals = {value.name: value for node in model.graph for value in node.outputs}
    two_passes(model, ["logits"])
    copies = [v for node in model.graph for v in node.outputs if (v.name or "").startswith("pass2/")]
    assert len(copies) > 10
    for copy in copies:
        original = originals[(copy.name or "").removeprefix("pass2/")]
        assert copy.type == original.type
        assert str(copy.shape).replace("M", "N") == str(original.shape)
        assert "N" not in str(copy.shape).replace("None", "")


def test_only_needed_nodes_are_copied_and_constants_are_shared() -> None:
    model = fresh_model("vgg")
    before = len(model.graph)
    initializers = dict(model.graph.initializers)
    clones = two_passes(model, ["tap.features.2"])
    assert [n.op_type for n in list(model.graph)[before:]] == ["Gather", "Conv", "Relu"]
    assert dict(model.graph.initializers) == initializers
    assert clones["tap.features.2"].name == "pass2/tap.features.2"


def test_names_are_deterministic_and_passes_can_be_stacked() -> None:
    first, second = fresh_model("mlp"), fresh_model("mlp")
    for model in (first, second):
        selected = append_selected_rows(model)
        for prefix in ("pass2/", "pass3/"):
            clones = clone_backbone(
                model, source_input="input", outputs=["logits"], new_input=selected, prefix=prefix
            )
            model.graph.outputs.append(clones["logits"])
    assert serialize(first) == serialize(second)
    outputs = run(serialize(first), input=case("mlp").batch(3).numpy(), rows=np.array([1], np.int64))
    np.testing.assert_array_equal(outputs["pass2/logits"], outputs["pass3/logits"])


def test_shape_of_an_untyped_input_is_taken_from_the_source() -> None:
    model = fresh_model("mlp")
    node = ir.node("Neg", [model.graph.inputs[0]])
    node.outputs[0].name = "negated"
    model.graph.append(node)
    clones = clone_backbone(
        model, source_input="input", outputs=["logits"], new_input=node.outputs[0], prefix="p/"
    )
    assert str(node.outputs[0].shape) == "[N,40]" and str(clones["logits"].shape) == "[N,10]"


def test_unsuitable_requests_are_refused() -> None:
    model = fresh_model("mlp")
    selected = append_selected_rows(model)
    before = len(model.graph)
    stray = ir.Value(name="stray", type=selected.type, shape=selected.shape)
    flat = ir.node("Reshape", [selected, ir.Value(name="unused")])
    flat.outputs[0].type, flat.outputs[0].shape = selected.type, ir.Shape(["M", 39])
    model.graph.append(flat)
    for changes, message in (
        ({"outputs": ["logit"]}, "no values named logit"),
        ({"source_input": "inputs"}, "no values named inputs"),
        ({"outputs": ["rows"]}, "rows do not depend on 'input'"),
        ({"new_input": stray}, "does not belong to the graph"),
        ({"new_input": flat.outputs[0]}, r"expected a new input of shape \[N,40\], got \[M,39\]"),
        ({"new_input": model.graph.inputs[1]}, "of type FLOAT, got INT64"),
        ({"prefix": ""}, "choose another"),
    ):
        request = {"source_input": "input", "outputs": ["logits"], "new_input": selected, "prefix": "p/"}
        with pytest.raises(ExportError, match=message):
            clone_backbone(model, **{**request, **changes})  # type: ignore[arg-type]
    assert len(model.graph) == before + 1, "a refused request adds nothing"


def test_prefix_cannot_be_used_twice() -> None:
    model = fresh_model("mlp")
    selected = append_selected_rows(model)
    clone_backbone(model, source_input="input", outputs=["logits"], new_input=selected, prefix="p/")
    with pytest.raises(ExportError, match="prefix 'p/' gives names the graph already has"):
        clone_backbone(model, source_input="input", outputs=["logits"], new_input=selected, prefix="p/")


def test_pass_reports_itself_as_in_place() -> None:
    model = fresh_model("mlp")
    selected = append_selected_rows(model)
    clone = CloneSubgraphPass(source="input", outputs=["logits"], new_input=selected, prefix="p/")
    result = clone(model)
    assert result.model is model and result.modified and clone.in_place
    assert set(clone.clones) == {"logits"}


def test_weights_are_stored_once() -> None:
    """A network of ResNet-18's depth; its weights, unlike a test net's, outweigh the node descriptions."""
    net = seeded(lambda: SmallResNet(widths=(16, 32, 64, 128), depth=2))
    backbone = export_backbone(net, case("resnet").batch(1), [])
    plain = len(serialize(backbone.model))
    two_passes(backbone.model, ["logits"])
    ratio = len(serialize(backbone.model)) / plain
    assert ratio <= 1.15
    assert ratio < 1.01, f"measured {ratio:.4f}: {plain} bytes of which only node descriptions may repeat"


def test_plans_feed_the_export() -> None:
    assert [layer for layer, _ in backbone_of("vit").taps] == list(plan_of("vit").names)
