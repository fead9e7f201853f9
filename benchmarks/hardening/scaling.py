"""Times `nip batch` with one worker and with two, both engines, on JPEG images of 224² in Parquet.

The network is a defended MobileNetV2 (see benchmarks/speed/files.py), one CPU thread per worker. Every round
runs every case once, each time in another order; a ratio is taken within each round. The time is the whole
run's as the command states it: planning, starting processes, opening the model, reading, decoding, predicting
and writing. The Dask workers are fresh processes that have not opened the model.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.hardening import bulk_runs as runs
from benchmarks.hardening.record import Count, Record, command_line, finish
from nip_runtime.operate.bench.rounds import Spread, ratio, spread, turn_order

COMMAND: Final = "python -m benchmarks.hardening.scaling"
SIDE: Final = 224
SHARDS: Final = 16


@dataclass(frozen=True)
class Case:
    """One way to run."""

    engine: str
    workers: int

    def __str__(self) -> str:
        return f"{self.engine}, {self.workers} worker{'s' * (self.workers > 1)}"


CASES: Final = tuple(Case(engine, workers) for engine in ("local", "dask") for workers in (1, 2))


def write_photos(path: Path, *, rows: int) -> None:
    """A Parquet file of seeded JPEG images, smooth as photographs are."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(rows):
        coarse = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        images.append(cv2.imencode(".jpg", image)[1].tobytes())
    pq.write_table(pa.table({"image": images}), path, row_group_size=128)


def run_seconds(case: Case, model: Path, photos: Path, folder: Path, *, rows: int) -> float:
    """Run one case into a new folder; seconds."""
    out = folder / "out"
    options = ["--shard-rows", str(-(-rows // SHARDS)), "--batch", "16", "--threads", "1", "--device", "cpu"]
    cluster = (
        runs.cluster(folder / "cluster", workers=case.workers) if case.engine == "dask" else nullcontext()
    )
    with cluster as there:
        if there is None:
            options += ["--workers", str(case.workers)]
        else:
            there.wait(case.workers)
            options += there.options
        code, output = runs.run(out, photos, options=options, model=model)
    summary = json.loads((out / "_summary.json").read_text()) if code == 0 else {}
    if summary.get("rows") != rows:
        raise RuntimeError(f"nip batch ended with {code} and {summary}:\n{output}")
    return float(summary["seconds"])


def measure(model: Path, photos: Path, *, rows: int, rounds: int) -> dict[Case, list[float]]:
    """Seconds of every case, round by round."""
    times: dict[Case, list[float]] = {case: [] for case in CASES}
    for number in range(rounds):
        for case in turn_order(CASES, number):
            with tempfile.TemporaryDirectory() as folder:
                seconds = run_seconds(case, model, photos, Path(folder), rows=rows)
            times[case].append(seconds)
            print(
                f"round {number + 1} of {rounds}: {case}: {rows / seconds:.1f} rows/s",
                file=sys.stderr,
                flush=True,
            )
    return times


def record(times: dict[Case, list[float]], *, rows: int, command: str) -> Record:
    """Rows per second of every case, and per engine what the second worker brings."""
    counts, details = [], {}
    for case, seconds in times.items():
        rates = spread(rows / np.array(seconds))
        counts.append(Count(what=f"{case}: rows per second", value=round(rates.median, 1), unit="rows/s"))
        details[str(case)] = _shown(rates)
    for engine in ("local", "dask"):
        one, two = (np.array(times[Case(engine, workers)]) for workers in (1, 2))
        gain = ratio(one, two)
        counts.append(
            Count(
                what=f"{engine}: rows per second with 2 workers over 1", value=round(gain.median, 3), unit="×"
            )
        )
        details[f"{engine}, 2 over 1"] = _shown(gain)
    sizes: dict[str, Any] = {"rows": rows, "shards": SHARDS, "rounds": len(next(iter(times.values())))}
    return Record(name="scaling", command=command, counts=tuple(counts), details=sizes | details)


def _shown(value: Spread) -> dict[str, float]:
    return {"median": value.median, "low": value.low, "high": value.high}


def mobilenet(folder: Path) -> Path:
    """The defended file; takes about a minute."""
    from benchmarks.speed.files import make_files
    from benchmarks.speed.networks import NETWORKS, Name
    from nip_runtime.file.manifest import Policy

    return make_files(NETWORKS[Name.MOBILENETV2], folder).path(Policy.GUARDED)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--rows", type=int, default=768, help="images per run (default 768)")
    parser.add_argument("--rounds", type=int, default=7, help="runs of every case (default 7)")
    parser.add_argument("--quick", action="store_true", help="128 images, two rounds")
    parser.add_argument("--model", type=Path, help="another defended file that takes RGB images")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/hardening/scaling.json")
    args = parser.parse_args(argv)
    rows, rounds = (128, 2) if args.quick else (args.rows, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        print("making the model and the images …", file=sys.stderr, flush=True)
        model = args.model or mobilenet(Path(folder))
        photos = Path(folder) / "photos.parquet"
        write_photos(photos, rows=rows)
        times = measure(model, photos, rows=rows, rounds=rounds)
    command = command_line("scaling", argv)
    found = record(times, rows=rows, command=command)
    return finish(found, saves=args.save)


if __name__ == "__main__":
    raise SystemExit(main())
