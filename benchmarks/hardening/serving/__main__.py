"""Counts what a real tritonserver does with a model repository of `nip triton` under load.

    python -m benchmarks.hardening.serving [--quick] [--save]

16 clients, over HTTP and then gRPC, send benign, attacked and broken rows for a minute each; every answer is
compared bit for bit with what onnxruntime answers when it is asked directly. Then wrong requests, and servers
that get SIGTERM under load. Server (2.51) and clients (2.73) are NVIDIA's, from PyPI, in an environment of
their own; a stand-in written in Python runs the graph, for the C++ onnxruntime backend is not on PyPI.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.hardening.record import Record, finish
from benchmarks.hardening.serving import environment
from benchmarks.hardening.serving.environment import Environment
from benchmarks.hardening.serving.fleet import Protocol
from benchmarks.hardening.serving.report import Tried, record_of
from benchmarks.hardening.serving.stage import GOLDENS, Images, Stage
from benchmarks.hardening.serving.trials import load, stop_ignored, stop_under_load, wrong_requests


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is tried."""

    seconds: float
    rounds: int
    ignoring: int
    exit_timeout_s: int


FULL = Size(seconds=60, rounds=10, ignoring=5, exit_timeout_s=3)
QUICK = Size(seconds=4, rounds=1, ignoring=1, exit_timeout_s=1)


def main(argv: list[str] | None = None) -> int:
    """Try, count, show; 1 if a promised count is missed."""
    args = _arguments(argv)
    obstacle = environment.obstacle()
    if obstacle is not None:
        print(f"error: {obstacle}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="nip-serving-") as scratch:
        record = _run(args, Path(scratch))
    return finish(record, saves=args.save)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hardening.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="seconds, on a golden file, instead of minutes")
    parser.add_argument("--save", action="store_true", help="write results/hardening/serving.json")
    parser.add_argument(
        "--environment", type=Path, metavar="FOLDER", help="keep the environment here, or take it from here"
    )
    return parser.parse_args(argv)


def _run(args: argparse.Namespace, scratch: Path) -> Record:
    size = QUICK if args.quick else FULL
    _say("installing the server and its clients")
    folder: Path = args.environment or scratch / "venv"
    triton = Environment(folder) if folder.exists() else environment.make(folder)
    _say("preparing the model")
    stage = _stage(triton, scratch, quick=args.quick)
    loads, wrong = {}, {}
    with stage.serve() as served:
        for protocol in Protocol:
            _say(f"load over {protocol}, {size.seconds:g} s")
            loads[protocol] = load(served, protocol, seconds=size.seconds)
            wrong[protocol] = wrong_requests(served, protocol)
    stops = []
    for number in range(size.rounds):
        _say(f"SIGTERM under load, {number + 1} of {size.rounds}")
        stops.append(stop_under_load(stage, seed=number))
    ignored = []
    for number in range(size.ignoring):
        _say(f"SIGTERM with HTTP clients that go on, {number + 1} of {size.ignoring}")
        ignored.append(stop_ignored(stage, timeout_s=size.exit_timeout_s, seed=number))
    tried = Tried(loads=loads, wrong=wrong, stops=stops, ignored=ignored)
    command = f"python -m benchmarks.hardening.serving{' --quick' if args.quick else ''}"
    return record_of(tried, stage, command=command, size=asdict(size))


def _stage(triton: Environment, scratch: Path, *, quick: bool) -> Stage:
    if quick:
        return Stage.of(triton, GOLDENS / "guarded.onnx", Images.of_golden("guarded"), scratch)
    from benchmarks.hardening.serving import material  # PyTorch and foolbox, which --quick does not need

    model = scratch / "model.nip.onnx"
    return Stage.of(triton, model, material.make(model), scratch)


def _say(what: str) -> None:
    print(f"serving: {what} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
