"""The same file in other engines than onnxruntime: the same labels, flags and logits at batch 1, 3 and 17.

All versions of all engines: ``python -m benchmarks.engines.run``.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.engines.case import Case, make_case
from benchmarks.engines.engines import Asked, Engine, Host
from benchmarks.engines.job import BATCHES
from benchmarks.engines.material import GOLDENS, PRECISIONS, goldens, padded, unscreened, with_shaken
from benchmarks.engines.results import judged
from benchmarks.engines.workers.python_engines import ENGINES, version
from nip_runtime.file.container import read_container
from tests.export.made import Workshop
from tests.export.networks import NETS
from tests.precision.made import make

CRASH_OPENCV = ("vit", "audio")


def engine(name: str) -> Asked:
    """An engine of this environment, asked in a process of its own: a crash is an answer.

    Skips the test where it is not installed.
    """
    module = ENGINES[name][0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{name} is not installed (Python module {module})")
    if name == "opencv" and version(name) < "5":
        pytest.skip(f"OpenCV {version(name)} lacks operators; 5 has them")
    return Asked(Engine(name=name, host=Host.PYTHON, worker=name, packages=()), Path(sys.executable))


def problems(name: str, cases: list[Case]) -> dict[str, str]:
    """What is wrong in an engine, by file."""
    return {
        case.name: found.problem
        for case, answered in engine(name).answers(cases)
        if (found := judged(case, answered)).problem
    }


@cache
def golden_cases() -> tuple[Case, ...]:
    return tuple(goldens())


def runnable(name: str, path: Path) -> bool:
    """Whether an engine can run a file.

    With a screen (NonZero) the number of rows in the second pass changes from batch to batch, to which OpenCV
    does not fit its layers, and may be none, for which OpenVINO can't compute MaxPool.
    """
    beside = {"opencv": set[str](), "openvino": {"MaxPool"}}.get(name)
    used = read_container(path).operators.keys()
    return beside is None or "NonZero" not in used or not beside <= used


@pytest.mark.parametrize("name", ["reference", "openvino", "opencv"])
def test_golden_files_answer_alike(name: str) -> None:
    cases = [case for case in golden_cases() if runnable(name, case.path)]
    assert {"golden always", "golden always-1.2"} <= {case.name for case in cases}
    assert problems(name, cases) == {}


def test_the_goldens_compared_show_every_kind_of_row() -> None:
    assert {case.name for case in golden_cases()} == {
        f"golden {path.stem}" for path in GOLDENS.glob("*.onnx")
    }
    for case in golden_cases():
        assert 0 < case.flagged.sum() < len(case.inputs)
        assert case.on_edge.sum() <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference", "openvino", "opencv"])
@pytest.mark.parametrize("network", [net.name for net in NETS])
def test_exported_networks_answer_alike(network: str, name: str, workshop: Workshop, tmp_path: Path) -> None:
    if name == "opencv" and network in CRASH_OPENCV:
        pytest.skip(f"OpenCV 5.0 ends its process on {network}, whatever the policy")
    made = workshop.export(network)
    inputs = made.inputs
    if name == "reference":  # plain numpy, in which a few rows take a second: benign ones, and attacked ones
        inputs = inputs[np.linspace(0, len(inputs) - 1, max(BATCHES)).astype(int)]
    case = make_case(network, made.path, inputs)
    if not runnable(name, made.path):
        if name == "openvino":
            case = padded(workshop, network, tmp_path / "padded.onnx")
        else:
            case = make_case(network, workshop.export(network, "always").path, inputs)
    assert problems(name, [case]) == {}


@pytest.fixture(scope="module", params=PRECISIONS)
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("converted")
    made = make(request.param, folder, few=True, screen_rate=1.0)  # its network has MaxPool, see `runnable`
    return make_case(request.param, made.path, with_shaken(made.inputs[:8]))  # fp16 is slow in numpy


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference", "openvino"])
def test_converted_files_answer_alike(converted: Case, name: str) -> None:
    if (name, converted.name) == ("reference", "int8"):
        pytest.skip("onnx 1.23's reference has no DequantizeLinear below opset 19")
    assert converted.suspicion.max() - converted.suspicion.min() > 0.3
    assert problems(name, [converted]) == {}


@pytest.mark.slow
def test_a_file_without_a_screen_answers_alike(tmp_path: Path) -> None:
    case = unscreened(tmp_path, "mirror+median")
    assert "NonZero" not in read_container(case.path).operators
    assert problems("opencv", [case]) == {}
