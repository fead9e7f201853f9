"""Engines that Python can load, each behind the same three lines: open a file, run a batch, name its version.

This module imports numpy and, on first use, one engine, so that it also runs in an environment which holds
nothing else:

    python python_engines.py ENGINE JOB

reads a job that :mod:`benchmarks.engines.job` wrote and prints one line of JSON per file.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

Outputs = dict[str, Any]
"""Arrays by the names of the graph's outputs."""
Run = Callable[[Any, Iterable[str]], Outputs]
"""Answers a batch: float32 inputs (n, *shape) and the outputs wanted."""


def onnxruntime_runs(path: str) -> Run:
    """The file in bare onnxruntime, on one CPU thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    return lambda inputs, names: dict(zip(names, session.run(list(names), {feed: inputs}), strict=True))


def openvino_runs(path: str) -> Run:
    """The file in OpenVINO, on one CPU thread, in float32: its CPU plugin may compute in less if let."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = core.compile_model(model, "CPU", exact)

    def run(inputs: Any, names: Iterable[str]) -> Outputs:
        found = compiled([inputs])
        return {name: np.array(found[compiled.output(name)]) for name in names}

    return run


def opencv_runs(path: str) -> Run:
    """The file in OpenCV's DNN module, on one CPU thread."""
    import cv2

    cv2.setNumThreads(1)
    # Silent about what it falls back on; what it cannot do it raises.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    net = cv2.dnn.readNetFromONNX(path)

    def run(inputs: Any, names: Iterable[str]) -> Outputs:
        net.setInput(inputs)
        wanted = list(names)
        return dict(zip(wanted, map(np.array, net.forward(wanted)), strict=True))

    return run


def reference_runs(path: str) -> Run:
    """The file in onnx's reference evaluator: the standard's own text, in numpy."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(path)
    feed = evaluator.input_names[0]
    return lambda inputs, names: dict(zip(names, evaluator.run(list(names), {feed: inputs}), strict=True))


ENGINES: dict[str, tuple[str, Callable[[str], Run]]] = {
    "onnxruntime": ("onnxruntime", onnxruntime_runs),
    "openvino": ("openvino", openvino_runs),
    "opencv": ("cv2", opencv_runs),
    "reference": ("onnx", reference_runs),
}
"""Module that must be installed, and what opens a file in it."""


def version(engine: str) -> str:
    """Of the engine, as it says itself.

    Raises:
        ImportError: it is not installed.
    """
    module = __import__(ENGINES[engine][0])
    return str(module.__version__)


def encoded(array: Any) -> dict[str, Any]:
    """An array as JSON; `decoded` of the job reads it."""
    whole = np.ascontiguousarray(array)
    data = base64.b64encode(whole.tobytes()).decode()
    return {"dtype": str(whole.dtype), "shape": list(whole.shape), "data": data}


def milliseconds(run: Run, inputs: Any, names: list[str]) -> float:
    """One call."""
    start = time.perf_counter()
    run(inputs, names)
    return 1e3 * (time.perf_counter() - start)


def answer(engine: str, job: dict[str, Any], case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Everything that is asked of one file; an engine's refusal is an answer too."""
    opens = ENGINES[engine][1]
    shape = case["shape"]
    inputs = np.fromfile(folder / case["inputs"], "<f4").reshape(shape)
    said: dict[str, Any] = {"name": case["name"], "batches": {}, "times": {}}
    try:
        run = opens(str(folder / case["model"]))
    except Exception as error:
        return said | {"error": f"opening: {error}"}
    for batch in job["batches"]:
        starts = range(0, len(inputs), batch)
        try:
            parts = [run(inputs[start : start + batch], case["outputs"]) for start in starts]
        except Exception as error:
            said["batches"][str(batch)] = {"error": str(error)}
            continue
        columns = {name: [encoded(part[name]) for part in parts] for name in case["outputs"]}
        said["batches"][str(batch)] = columns
    if job["rounds"] and not any("error" in found for found in said["batches"].values()):
        plain = opens(str(folder / case["plain"]))
        sides = ((run, case["outputs"]), (plain, [case["plain_output"]]))
        for batch in job["timed"]:
            rows = inputs[:batch]
            for side, names in sides:
                side(rows, names)
            said["times"][str(batch)] = [
                [milliseconds(side, rows, names) for side, names in sides] for _ in range(job["rounds"])
            ]
    return said


def main(engine: str, path: str) -> None:
    """Answer a job."""
    print(json.dumps({"version": version(engine), "numpy": np.__version__}), flush=True)
    answer_all(engine, path)


def answer_all(engine: str, path: str) -> None:
    """One line when a file of the job is begun, and one with what came of it."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    for case in job["cases"]:
        print(json.dumps({"begun": case["name"]}), flush=True)
        print(json.dumps(answer(engine, job, case, Path(path).parent)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
