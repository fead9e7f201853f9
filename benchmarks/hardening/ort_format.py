"""A defended file in onnxruntime's own ``.ort`` format: same answers, how fast it opens and runs.

    python -m benchmarks.hardening.ort_format [--model F.onnx] [--rounds 31] [--save]

Two ways to convert: with every optimisation of this machine, and with those that are the same everywhere.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.hardening.example import export_example
from benchmarks.hardening.record import Count, Record, command_line, finish
from nip_runtime.file.names import MANIFEST_KEY
from nip_runtime.operate.bench.rounds import paired, ratio

_ROWS: Final = 16
_FATAL: Final = 4
_LEVELS: Final = {
    "optimised for this machine": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "optimised for any machine": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
}


def convert(source: Path, target: Path, level: Any) -> None:
    """Write ``source`` as ``.ort``."""
    options = _options()
    options.optimized_model_filepath = str(target)
    options.graph_optimization_level = level
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def open_session(path: Path) -> Any:
    """A plain session of one thread."""
    return ort.InferenceSession(path, _options(), providers=["CPUExecutionProvider"])


def _options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = _FATAL  # it warns that the first way is for this machine only: so we say
    return options


def answers(session: Any, images: NDArray[np.float32]) -> list[NDArray[Any]]:
    """All five outputs."""
    outputs: list[NDArray[Any]] = session.run(None, {session.get_inputs()[0].name: images})
    return outputs


def measure(model: Path, folder: Path, rounds: int) -> Record:
    """Convert, compare, time."""
    paths = {"onnx": model}
    for name, level in _LEVELS.items():
        paths[name] = folder / f"{name.replace(' ', '-')}.ort"
        convert(model, paths[name], level)
    sessions = {name: open_session(path) for name, path in paths.items()}
    shape = sessions["onnx"].get_inputs()[0].shape[1:]
    images = np.random.default_rng(0).random((_ROWS, *shape), np.float32)
    expected = answers(sessions["onnx"], images)

    def opening(path: Path) -> Callable[[], object]:
        return lambda: open_session(path)

    def running(session: Any) -> Callable[[], object]:
        return lambda: answers(session, images[:1])

    openings = paired({name: opening(path) for name, path in paths.items()}, rounds=rounds)
    runs = paired({name: running(session) for name, session in sessions.items()}, rounds=10 * rounds)
    counts = []
    for name in _LEVELS:
        found = answers(sessions[name], images)
        equal = sum(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
        largest = max(float(np.abs(a - b).max()) for a, b in zip(expected[:2], found[:2], strict=True))
        has_manifest = MANIFEST_KEY in sessions[name].get_modelmeta().custom_metadata_map
        exact = name == next(iter(_LEVELS))
        counts += [
            Count(
                what=f"outputs equal bit for bit, {name}",
                value=equal,
                of=len(expected),
                wanted="all" if exact else "",
                met=equal == len(expected) if exact else None,
            ),
            Count(what=f"largest difference of a logit, {name}", value=largest),
            Count(what=f"manifest still inside, {name}", value=int(has_manifest), of=1),
            Count(what=f"size to .onnx, {name}", value=paths[name].stat().st_size / model.stat().st_size),
            Count(what=f"opening to .onnx, {name}", value=ratio(openings[name], openings["onnx"]).median),
            Count(what=f"one row to .onnx, {name}", value=ratio(runs[name], runs["onnx"]).median),
        ]
    return Record(
        name="ort_format",
        command=command_line("ort_format"),
        counts=tuple(counts),
        details={"rounds": rounds, "rows compared": _ROWS},
    )


def main() -> int:
    """Measure one file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hardening.ort_format",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=Path, help="defended file (default: the embedded example, exported now)"
    )
    parser.add_argument("--rounds", type=int, default=31, help="openings of each form (default 31)")
    parser.add_argument("--save", action="store_true", help="write results/hardening/ort_format.json")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or export_example(Path(folder) / "model.nip.onnx")
        record = measure(model, Path(folder), args.rounds)
    return finish(record, saves=args.save)


if __name__ == "__main__":
    raise SystemExit(main())
