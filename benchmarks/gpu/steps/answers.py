"""First of all: what the machine is, whether the device asked for is taken, and answers as the CPU."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import numpy as np

from benchmarks.gpu.material import Answers, Material, answers_of
from benchmarks.gpu.parts import read_manifest
from benchmarks.gpu.plan import Step
from benchmarks.gpu.results import Book, Check, Compared, Missing, Setting
from benchmarks.gpu.step import Task, as_users, task
from benchmarks.gpu.ways import Way, open_way, ways_on
from nip_runtime.errors import NipError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.operate.bench import machine

DOCTOR: Final = ("-m", "nip_runtime.cli.main", "doctor")
PACKAGES: Final = ("onnxruntime-gpu", "onnxruntime", "numpy", "torch", "onnx", "onnx-ir", "onnxscript")
TOLERANCES: Final = {"fp32": 1e-3, "fp16": 2e-2, "int8": 5e-2}
"""Largest difference of logits, as a share of the largest logit, and of suspicions, by precision. A GPU adds
in another order and computes fp16 in fp16, which the CPU provider does not."""

COMPARED: Final = {
    "fp32": tuple(Way),
    "fp16": (Way.FUSED, Way.GRAPHED),
    "int8": (Way.FUSED,),
}
"""Opening a file on CUDA takes a second or more, and there are many."""


def main() -> int:
    told = task(Step.ANSWERS)
    book = told.book()
    book.add(setting(told))
    doctor(told, book)
    for network in told.networks:
        for precision in network.precisions:
            for way in (way for way in ways_on(told) if way in COMPARED[precision]):
                compare(told, book, network, precision, way)
    return 0


def setting(told: Task) -> Setting:
    """The machine, the driver and the versions."""
    import onnxruntime

    manifest, here = read_manifest(told.parts), machine.describe(told.device)
    versions = {name: _version(name) for name in PACKAGES} | {
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }
    return Setting(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        plan=told.plan_name,
        device=told.device,
        gpu=here.gpu or "",
        driver=_driver() if told.on_gpu else "",
        cpu=here.cpu,
        cores=here.cores,
        system=here.system,
        versions={name: found for name, found in versions.items() if found},
        commit=manifest.commit,
        left_out={absent.what: absent.why for absent in manifest.left_out},
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip().partition("\n")[0]


def doctor(told: Task, book: Book) -> None:
    """``nip doctor`` says that the device works."""
    command = [sys.executable, *DOCTOR, "--json"]
    done = subprocess.run(command, env=as_users(), capture_output=True, text=True, check=False)
    print(done.stdout)
    provider = "CUDAExecutionProvider" if told.on_gpu else "CPUExecutionProvider"
    try:
        checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
        own = next(check for check in checks if check["provider"] == provider)
    except (ValueError, StopIteration):
        book.add(Check(name="nip doctor", expected="a diagnosis", got=done.stderr[-300:], held=False))
        return
    book.add(
        Check(
            name="nip doctor",
            expected=f"{provider} works and keeps all bits of float32",
            got="works" if own["works"] else f"{own['problem']}; {own['cure']}",
            held=bool(own["works"]) and not own["rounds"],
        )
    )


def compare(told: Task, book: Book, network: Material, precision: str, way: Way) -> None:
    """One file, opened one way, beside the answers that the CPU gave where the parts were made."""
    what = f"answers of {network.name} {precision} {way}"
    inputs, expected = network.expected(precision)
    try:
        with open_way(told, network.path(precision), way) as session:
            taken = session.device
            found = answers_of(session, inputs)
    except NipError as error:
        book.add(Missing(what=what, why=str(error)))
        return
    if taken != told.device:
        book.add(Check(name=f"device of {network.name}", expected=told.device, got=taken, held=False))
    flag_at = read_artifact(network.path(precision)).manifest.defence.flag_threshold
    tolerance = TOLERANCES[precision]
    row = judged(network.name, precision, way, found, expected, flag_at=flag_at, tolerance=tolerance)
    book.add(row)
    print(f"{what}: {'held' if row.held else 'NOT HELD'}, {row}", flush=True)


def judged(
    network: str,
    precision: str,
    way: str,
    found: Answers,
    expected: Answers,
    *,
    flag_at: float | None,
    tolerance: float,
) -> Compared:
    """Count what differs, and what of it lies within the tolerance.

    Logits are compared where both say the same of a row: a row that one flags and the other does not is
    answered from another pass.
    """
    near = (
        np.zeros(len(found.labels), np.bool_)
        if flag_at is None
        else np.abs(expected.suspicion - np.float32(flag_at)) <= tolerance
    )
    flags = found.flagged != expected.flagged
    scale = max(1.0, float(np.abs(expected.logits).max()))
    pairs = [(found.raw_logits, expected.raw_logits), (found.logits[~flags], expected.logits[~flags])]
    difference = max((float(np.abs(ours - theirs).max()) for ours, theirs in pairs if len(ours)), default=0.0)
    labels = found.labels != expected.labels
    best = np.sort(expected.logits, axis=1)
    close = best[:, -1] - best[:, -2] <= 2 * tolerance * scale
    return Compared(
        network=network,
        precision=precision,
        engine=way,
        rows=len(found.labels),
        tolerance=tolerance,
        largest_difference=difference / scale,
        labels_differ=int(labels.sum()),
        labels_excused=int((labels & (close | near)).sum()),
        flags_differ=int(flags.sum()),
        flags_excused=int((flags & near).sum()),
    )


if __name__ == "__main__":
    raise SystemExit(main())
