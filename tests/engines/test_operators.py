"""Every file is made of operators that every engine has and reads as the standard says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.engines.material import GOLDENS
from benchmarks.engines.operators import obstacles, read_known
from nip_runtime.file.allowed import OPERATORS
from tests.export.made import Workshop
from tests.export.networks import NETS

KNOWN = read_known()
EVERYWHERE = ("onnxruntime", "OpenVINO")
"""Engines that must have the operators of every file; OpenCV runs those without a screen."""


@pytest.mark.parametrize("engine", EVERYWHERE)
@pytest.mark.parametrize("golden", sorted(path.name for path in GOLDENS.glob("*.onnx")))
def test_golden_files_meet_no_obstacle(golden: str, engine: str) -> None:
    assert obstacles(GOLDENS / golden, KNOWN[engine]) == []


@pytest.mark.slow
@pytest.mark.parametrize("network", [net.name for net in NETS])
def test_exported_networks_meet_no_obstacle(network: str, workshop: Workshop) -> None:
    path = workshop.export(network).path
    found = {engine: obstacles(path, KNOWN[engine]) for engine in EVERYWHERE}
    assert not any(found.values()), found


def test_opencv_is_known_by_the_files_that_it_runs() -> None:
    known = KNOWN["OpenCV 5"]
    assert obstacles(GOLDENS / "always.onnx", known) == []
    assert "NonZero: not there" in obstacles(GOLDENS / "guarded.onnx", known)
    assert any(found.startswith("Mean: ") for found in obstacles(GOLDENS / "blur-gain-bits-rho.onnx", known))


def plain(operator: str, path: Path, **attributes: Any) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    graph = helper.make_graph([node], "g", [value], [helper.make_empty_tensor_value_info("y")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_an_operator_that_an_engine_lacks_or_misreads_is_named(tmp_path: Path) -> None:
    known = KNOWN["OpenVINO"]
    pool = plain("LpPool", tmp_path / "pool.onnx", kernel_shape=[2])
    assert obstacles(pool, known) == ["LpPool: not there"]
    total = plain("ReduceL1", tmp_path / "sum.onnx", axes=[1])
    (found,) = obstacles(total, known)
    assert found == "ReduceL1: with axes as an attribute, as in opset 13 to 17, all axes are reduced"
    assert obstacles(total, KNOWN["onnxruntime"]) == []


@pytest.mark.parametrize("engine", KNOWN)
def test_a_list_says_where_it_is_from_and_names_operators_of_the_profile(engine: str) -> None:
    known = KNOWN[engine]
    assert known.source
    assert known.misread.keys() <= known.operators <= OPERATORS
    assert len(known.operators) > 30
