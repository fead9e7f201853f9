"""Configurations as protobuf's own parser and Triton's own schema read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.hardening.serving.environment import Environment
from benchmarks.hardening.serving.fleet import ask
from nip_runtime.file.container import read_container
from nip_runtime.operate.triton import GraphOptimisation, Instances, ServingSettings, write_repository
from nip_runtime.operate.triton.textformat import TextFormatError, parse
from tests.serving.breakages import BREAKAGES, UNREADABLE
from tests.serving.conftest import GOLDENS

pytestmark = pytest.mark.slow

_TYPES = {"float32": "TYPE_FP32", "bool": "TYPE_BOOL", "int64": "TYPE_INT64"}
_TEXTS = (
    "a: 1 2",
    "max_batch_size: 1,; input [ ]",
    "max_batch_size: 08",
    "name: \"a\" 'b' # c",
    'name: "\\x41\\102\\303\\244\\u00e4"',
    'name: "\\377"',
    "name: <>",
    "input: < name: 'x' > input [ { dims: [1,2] }, {} ];",
    "input: { dims: 1 }, input { dims: [] }",
    "dynamic_batching: {} ,",
    "max_batch_size: -0x1F",
    "max_batch_size: 64 max_batch_size: 8",
)
"""Corners of the text format: both readers take a text, or neither does."""


def test_triton_reads_what_was_asked_for(triton: Environment, model: Path, tmp_path: Path) -> None:
    tuned = ServingSettings(
        max_batch=8, delay_us=0, instances=Instances.parse("gpu:0,1x2"), threads=3,
        optimisation=GraphOptimisation.OFF,
    )  # fmt: skip
    plain, other = (
        write_repository(model, tmp_path / "models", name=name, settings=settings).model.folder
        for name, settings in (("plain", None), ("tuned", tuned))
    )
    read, changed = ask(triton, "config", plain / "config.pbtxt", other / "config.pbtxt")
    assert (read["name"], read["backend"], read["max_batch_size"]) == ("plain", "onnxruntime", 64)
    container = read_container(model)
    for field, values in (("input", container.inputs), ("output", container.outputs)):
        assert [(io["name"], io["data_type"]) for io in read[field]] == [
            (value.name, _TYPES[value.dtype]) for value in values
        ]
        for io, value in zip(read[field], values, strict=True):
            assert value.shape is not None
            # Without the batch axis; a value per row is shown as (N, 1) and loses the 1 on the way in.
            assert io["dims"] == [str(size) for size in value.shape[1:] or (1,)]
            assert ("reshape" in io) is (len(value.shape) == 1)
            assert io.get("reshape", {}) == {}
    assert read["dynamic_batching"] == {"max_queue_delay_microseconds": "500"}
    assert read["instance_group"] == [{"count": 1, "kind": "KIND_CPU"}]
    warmups = read["model_warmup"]
    assert [warmup["batch_size"] for warmup in warmups] == [1, 64]
    for warmup in warmups:
        data = {"data_type": "TYPE_FP32", "dims": ["1", "28", "28"], "input_data_file": "noise"}
        assert warmup["inputs"] == {"input": data}
    assert set(read) == {
        "name", "backend", "max_batch_size", "input", "output",
        "dynamic_batching", "instance_group", "model_warmup",
    }  # fmt: skip
    assert changed["instance_group"] == [{"count": 2, "kind": "KIND_GPU", "gpus": [0, 1]}]
    assert changed["optimization"] == {"graph": {"level": 2}}
    assert changed["parameters"] == {"intra_op_thread_count": {"string_value": "3"}}
    assert [warmup["batch_size"] for warmup in changed["model_warmup"]] == [1, 8]


def test_both_readers_take_the_same_texts(triton: Environment, model: Path, tmp_path: Path) -> None:
    """And protobuf takes what the static check calls broken: the check adds something."""
    text = (write_repository(model, tmp_path / "models").model.folder / "config.pbtxt").read_text()
    changed = [text.replace(old, new) for old, new, _ in (*BREAKAGES.values(), *UNREADABLE.values())]
    paths = []
    for place, content in enumerate((*changed, *_TEXTS)):
        paths.append(tmp_path / f"{place}.pbtxt")
        paths[-1].write_text(content)
    official = ask(triton, "config", *paths)
    refused = [
        name for name, read in zip((*BREAKAGES, *UNREADABLE), official, strict=False) if "error" in read
    ]
    assert refused == list(UNREADABLE)
    for content, read in zip(_TEXTS, official[len(changed) :], strict=True):
        assert _is_read(content) is ("error" not in read), (content, read)


def _is_read(text: str) -> bool:
    """As far as the schema matters: singular fields once, messages and strings where they belong."""
    try:
        read = parse(text)
        for field in ("max_batch_size", "name"):
            read.one(field)
        read.message("dynamic_batching")
        names: list[Any] = [read.one("name"), *(io.one("name") for io in read.messages("input"))]
        return all(name is None or isinstance(name, str) for name in names) and "a" not in read.names()
    except TextFormatError:
        return False


def test_goldens_of_all_policies_are_read(triton: Environment, tmp_path: Path) -> None:
    folders = [
        write_repository(GOLDENS / f"{policy}.onnx", tmp_path / "models").model.folder
        for policy in ("guarded", "detect", "always")
    ]
    read = ask(triton, "config", *(folder / "config.pbtxt" for folder in folders))
    assert [each["name"] for each in read] == ["guarded", "detect", "always"]
