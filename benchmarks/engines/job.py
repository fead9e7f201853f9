"""What an engine outside this process is asked, as a folder of files, and what it answered, as lines of JSON.

The same job is read by Python, Node and a browser: weights as ``.onnx``, inputs as raw float32.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.case import Case, write_plain
from benchmarks.engines.compare import Parts

BATCHES: Final = (1, 3, 17)
"""Batch sizes that every file runs at, one after the other, in one session."""
TIMED: Final = (1, 17)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What an engine made of one file.

    Attributes:
        error: why it could not open the file; "" if it could.
        parts: answers by batch size.
        errors: why it could not run the file, by batch size.
        pairs: by batch size, milliseconds of the defended file and of the plain one, one after the other.
    """

    error: str = ""
    parts: dict[int, Parts] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    pairs: dict[int, list[tuple[float, float]]] = field(default_factory=dict)


def write_job(cases: Sequence[Case], folder: Path, *, rounds: int = 0) -> Path:
    """Write a job to an empty folder.

    Args:
        cases: the files.
        folder: where.
        rounds: how often each file and its plain one are timed.

    Returns:
        The path of ``job.json``.
    """
    entries = []
    for index, case in enumerate(cases):
        stem = f"{index:03}"
        (folder / f"{stem}.onnx").write_bytes(case.path.read_bytes())
        case.inputs.astype("<f4").tofile(folder / f"{stem}.f32")
        entries.append(
            {
                "name": case.name,
                "model": f"{stem}.onnx",
                "plain": f"{stem}-plain.onnx",
                "plain_output": write_plain(case, folder / f"{stem}-plain.onnx"),
                "input": case.input_name,
                "inputs": f"{stem}.f32",
                "shape": list(case.inputs.shape),
                "outputs": list(case.outputs),
            }
        )
    job = {"batches": list(BATCHES), "timed": list(TIMED), "rounds": rounds, "cases": entries}
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def read_answers(lines: Iterable[str]) -> Iterator[tuple[str, Answered | None]]:
    """Names of files and what came of them; None when a file was begun.

    Lines that are no JSON objects are an engine's own chatter.
    """
    for line in lines:
        if not line.startswith("{"):
            continue
        said: dict[str, Any] = json.loads(line)
        if "begun" in said:
            yield said["begun"], None
        elif "name" in said:
            yield said["name"], _answered(said)


def _answered(said: dict[str, Any]) -> Answered:
    answered = Answered(error=said.get("error", ""))
    for size, found in said["batches"].items():
        if "error" in found:
            answered.errors[int(size)] = found["error"]
        else:
            columns = {name: [decoded(array) for array in arrays] for name, arrays in found.items()}
            count = len(next(iter(columns.values())))
            answered.parts[int(size)] = [{name: columns[name][k] for name in columns} for k in range(count)]
    for size, pairs in said["times"].items():
        answered.pairs[int(size)] = [(defended, plain) for defended, plain in pairs]
    return answered


def decoded(array: dict[str, Any]) -> NDArray[Any]:
    """An array that a worker encoded."""
    data = base64.b64decode(array["data"])
    return np.frombuffer(data, array["dtype"]).reshape(array["shape"])
