from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nip_runtime.errors import ArtifactError
from nip_runtime.file.container import Container, encode_metadata_entry, parse_container, read_container
from nip_runtime.file.container.encoder import encode_model, encode_node, encode_tensor, encode_value
from nip_runtime.file.container.wire import encode_bytes, encode_int
from tests.runtime.toy import graph_bytes

MODEL = graph_bytes()


def test_describes_a_model() -> None:
    container = parse_container(MODEL)
    assert container.ir_version == 8
    assert dict(container.opsets) == {"": 17}
    assert [(value.name, value.dtype, value.shape) for value in container.inputs] == [
        ("input", "float32", ("N", 1, 4, 4))
    ]
    assert container.outputs[0].name == "logits"
    assert container.operators["MatMul"] == 4
    assert container.weights_size_bytes == (16 * 3 * 2 + 3 + 16 + 5) * 4 + 5 * 8 + 16
    assert container.functions == 0


def test_digest_covers_the_graph_bytes_and_nothing_else() -> None:
    container = parse_container(MODEL)
    start, stop = container.graph_range
    assert container.graph_digest == f"sha256:{hashlib.sha256(MODEL[start:stop]).hexdigest()}"
    appended = parse_container(MODEL + encode_metadata_entry("a", "b"))
    assert appended.graph_digest == container.graph_digest
    assert dict(appended.metadata) == {"a": "b"}
    damaged = bytearray(MODEL)
    damaged[MODEL.index(b"weights") + 60] ^= 1
    assert parse_container(bytes(damaged)).graph_digest != container.graph_digest


def test_a_file_reads_like_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL)
    assert read_container(path) == parse_container(MODEL)


def _summary_by_onnx(data: bytes) -> dict[str, Any]:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(data)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}

    def shape(value: Any) -> tuple[int | str | None, ...]:
        dims = value.type.tensor_type.shape.dim
        return tuple(d.dim_param or d.dim_value if d.WhichOneof("value") else None for d in dims)

    def dtype(code: int) -> str:
        return str(onnx.helper.tensor_dtype_to_np_dtype(code).name)

    def count(nodes: Any) -> dict[str, int]:
        counts: dict[str, int] = {}
        for node in nodes:
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            counts[name] = counts.get(name, 0) + 1
            for attribute in node.attribute:
                for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                    for key, number in count(inner.node).items():
                        counts[key] = counts.get(key, 0) + number
        return counts

    return {
        "ir_version": model.ir_version,
        "opsets": {entry.domain: entry.version for entry in model.opset_import},
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "inputs": [
            (v.name, dtype(v.type.tensor_type.elem_type), shape(v))
            for v in graph.input
            if v.name not in weights
        ],
        "outputs": [(v.name, dtype(v.type.tensor_type.elem_type), shape(v)) for v in graph.output],
        "operators": count(graph.node),
        "initializers": [(t.name, dtype(t.data_type), tuple(t.dims)) for t in graph.initializer],
        "functions": len(model.functions),
    }


def _summary(container: Container) -> dict[str, Any]:
    return {
        "ir_version": container.ir_version,
        "opsets": dict(container.opsets),
        "metadata": dict(container.metadata),
        "inputs": [(v.name, v.dtype, v.shape) for v in container.inputs],
        "outputs": [(v.name, v.dtype, v.shape) for v in container.outputs],
        "operators": dict(container.operators),
        "initializers": [(i.name, i.dtype, i.shape) for i in container.initializers],
        "functions": container.functions,
    }


def test_agrees_with_the_onnx_package_on_our_model() -> None:
    data = MODEL + encode_metadata_entry("nip.manifest", "é ✓")
    assert _summary(parse_container(data)) == _summary_by_onnx(data)
    pytest.importorskip("onnx").checker.check_model(data, full_check=True)


def test_agrees_with_the_onnx_package_on_everything_odd() -> None:
    """Subgraphs, functions, foreign domains, typed and external data, initializers among the inputs."""
    onnx = pytest.importorskip("onnx")
    helper, proto = onnx.helper, onnx.TensorProto
    branch = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Neg", ["y"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", proto.FLOAT, None)],
    )
    external = helper.make_tensor("far", proto.FLOAT, [2], np.zeros(2, np.float32).tobytes(), raw=True)
    onnx.external_data_helper.set_external_data(external, "far.bin")
    external.ClearField("raw_data")
    graph = helper.make_graph(
        [
            helper.make_node("If", ["c"], ["out"], then_branch=branch, else_branch=branch),
            helper.make_node("Fancy", ["x"], ["fancy"], domain="com.example"),
        ],
        "g",
        [
            helper.make_tensor_value_info("x", proto.FLOAT16, ["N", None, 3]),
            helper.make_tensor_value_info("w", proto.INT64, [2]),
            helper.make_tensor_value_info("c", proto.BOOL, []),
        ],
        [helper.make_tensor_value_info("out", proto.DOUBLE, ["N"])],
        [
            helper.make_tensor("w", proto.INT64, [2], [1, -2]),
            helper.make_tensor("f", proto.FLOAT, [2, 2], [1, 2, 3, 4]),
            external,
        ],
    )
    function = helper.make_function(
        "com.example", "Fancy", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], []
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)],
        functions=[function],
        producer_name="test",
        producer_version="2",
    )
    data = model.SerializeToString()
    container = parse_container(data)
    assert _summary(container) == _summary_by_onnx(data)
    assert container.producer == "test 2"
    assert [i.external for i in container.initializers] == [False, False, True]
    assert [i.size_bytes for i in container.initializers] == [len(b"\x01" + b"\xff" * 9 + b"\x01"), 16, 0]
    start, stop = container.graph_range
    assert onnx.GraphProto.FromString(data[start:stop]) == model.graph


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=4))
def test_metadata_comes_back(entries: dict[str, str]) -> None:
    data = MODEL + b"".join(encode_metadata_entry(key, value) for key, value in entries.items())
    assert dict(parse_container(data).metadata) == entries


@given(st.integers(1, len(MODEL) - 1))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(ArtifactError, match="expected"):
        parse_container(MODEL[:length])


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        parse_container(data)
    except ArtifactError as error:
        assert "expected" in str(error)


@given(st.data())
def test_any_damage_is_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(MODEL)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(MODEL) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_container(bytes(damaged))
    except ArtifactError as error:
        assert "expected" in str(error)


def _deep(depth: int) -> bytes:
    node = encode_node("Neg", ["x"], ["y"])
    for _ in range(depth):
        subgraph = encode_bytes(1, node)
        node = encode_bytes(4, "If") + encode_bytes(
            5, encode_bytes(1, "then_branch") + encode_bytes(6, subgraph)
        )
    value = encode_value("x", "float32", ["N"])
    return encode_model(nodes=[node], inputs=[value], outputs=[value])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "got an empty file; export or copy the file again"),
        (b"GIF89a, surely not a model", r"got something else \(a GIF image\); check which file this is"),
        (MODEL[: len(MODEL) // 2], "got a file cut off after .*; copy or download it again"),
        (encode_int(1, 8), "no graph in it"),
        (MODEL + encode_bytes(7, b""), "two graphs in one file"),
        (
            MODEL + encode_metadata_entry("a", "1") + encode_metadata_entry("a", "2"),
            "metadata key 'a' appears twice",
        ),
        (MODEL + encode_bytes(14, encode_bytes(1, b"\xff")), "not UTF-8"),
        (_deep(200), "expected subgraphs nested at most 16 deep in these bytes, got more"),
    ],
)
def test_says_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        parse_container(data)


def test_subgraphs_of_ordinary_depth_are_counted() -> None:
    assert dict(parse_container(_deep(3)).operators) == {"If": 3, "Neg": 1}


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="got nothing there; check the path"):
        read_container(tmp_path / "none.onnx")
    with pytest.raises(ArtifactError, match="got a folder"):
        read_container(tmp_path)


def test_encoder_tensor_dtypes_come_back() -> None:
    value = encode_value("x", "float32", ["N"])
    arrays: list[NDArray[Any]] = [np.zeros((2, 3), np.float32), np.zeros(4, np.int64), np.array(True)]
    data = encode_model(
        nodes=[encode_node("Identity", ["x"], ["y"])],
        inputs=[value],
        outputs=[value],
        initializers=[encode_tensor(str(i), array) for i, array in enumerate(arrays)],
    )
    read = [(i.dtype, i.shape, i.size_bytes) for i in parse_container(data).initializers]
    assert read == [(array.dtype.name, array.shape, array.nbytes) for array in arrays]
