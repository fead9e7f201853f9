"""Is memory steady over 10,000 batches of mixed sizes?

    python -m benchmarks.hardening.memory [--model F.nip.onnx] [--batches 10000] [--quick] [--save]

Both engines of one file serve batches of 1 to 64 rows by turns, once from one thread and once from four. To
warm up, all threads run the largest batch at once, and then a twentieth of the mixed ones. What the process
holds then is compared with what it holds from there to the end. Without --model, the embedded example is
exported for it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.hardening.record import Count, Record, command_line, finish
from nip_runtime import DefendedSession, InputError
from nip_runtime.cli.progress import Progress
from nip_runtime.run.memory import resident_bytes

ENGINES: Final = ("fused", "gated")
THREADS: Final = (1, 4)
MOST_ROWS: Final = 64
SHARE_OF_WARM_UP: Final = 20
DRIFT: Final = 0.05
_SAMPLES: Final = 200
_WARM_RUNS: Final = 5
_EXPORT: Final = """
import sys
from nip_export import ExportConfig, export_defended
from nip_export.demo.example import load_example
example = load_example()
export_defended(
    example.model, example.profile.images, example.profile.labels, sys.argv[1],
    calibration=(example.calibration.images, example.calibration.labels),
    config=ExportConfig(mean=example.mean, std=example.std, ascent_steps=2),
)
"""


@dataclass(frozen=True)
class Held:
    """What a process held while it served, in bytes.

    Attributes:
        warm: when the arenas had seen most sizes.
        most: at most, from there to the end.
        end: when all batches were answered.
    """

    warm: int
    most: int
    end: int

    @property
    def drift(self) -> float:
        """Change from ``warm`` to ``end``, as a share of ``warm``."""
        return self.end / self.warm - 1

    @property
    def excursion(self) -> float:
        """Likewise of ``most``."""
        return self.most / self.warm - 1


def serve(path: Path, *, batches: int, threads: int, most_rows: int = MOST_ROWS) -> Held:
    """Serve mixed batches in this process and see what it holds.

    Args:
        path: a defended file.
        batches: to answer, by all threads and both engines together.
        threads: that serve at once.
        most_rows: of a batch.

    Raises:
        RuntimeError: if a thread failed.
    """
    sessions = [DefendedSession(path, device="cpu", engine=engine, threads=1) for engine in ENGINES]
    images = _images(sessions[0], 2 * most_rows)
    lock, failures, together = threading.Lock(), list[BaseException](), threading.Barrier(threads)
    done, samples = 0, list[int]()
    every = max(1, batches // _SAMPLES)

    def work(number: int) -> None:
        nonlocal done
        random = np.random.default_rng(number)
        try:
            for session in sessions * _WARM_RUNS:  # the worst that can come: it need not come by chance later
                together.wait()
                session.predict(images[1::2])
            while True:
                with lock:
                    if done == batches or failures:
                        return
                    done += 1
                    turn = done
                    if turn % every == 0:
                        samples.append(resident_bytes())
                rows, start = int(random.integers(1, most_rows + 1)), int(random.integers(0, most_rows))
                sessions[turn % len(sessions)].predict(images[start : start + rows])
        except BaseException as error:  # told by the thread that waits
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise RuntimeError("a serving thread failed") from failures[0]
    warm = samples[max(0, len(samples) // SHARE_OF_WARM_UP - 1)]
    end = resident_bytes()
    return Held(warm=warm, most=max(*samples[len(samples) // SHARE_OF_WARM_UP :], end), end=end)


def _images(session: DefendedSession, count: int) -> NDArray[np.float32]:
    """Noise: most rows of it take the second pass; black ones, every other, are calm."""
    spec = session.manifest.input
    low, high = spec.bounds
    images = np.random.default_rng(0).uniform(low, high, (count, *spec.shape)).astype(np.float32)
    images[::2] = low
    return images


def record(held: dict[int, Held], *, path: Path, batches: int) -> Record:
    """The counts to show."""
    counts = []
    for threads, one in held.items():
        of = f"{batches} mixed batches, {threads} thread{'s' * (threads > 1)}"
        for what, value in (("end", one.drift), ("highest", one.excursion)):
            counts.append(
                Count(
                    what=f"{of}: resident memory after warm-up to the {what}",
                    value=round(100 * value, 2),
                    unit="%",
                    wanted="within ± 5 %",
                    met=abs(value) <= DRIFT,
                )
            )
        grown = max(0, one.end - one.warm) / (batches - batches // SHARE_OF_WARM_UP)
        counts.append(Count(what=f"{of}: growth per batch", value=round(grown), unit="bytes"))
    return Record(
        name="memory",
        command=command_line("memory"),
        counts=tuple(counts),
        details={
            "file": path.name,
            "engines": list(ENGINES),
            "rows per batch": f"1 to {MOST_ROWS}",
            "MiB after warm-up": {str(threads): round(one.warm / 2**20, 1) for threads, one in held.items()},
            "MiB at the end": {str(threads): round(one.end / 2**20, 1) for threads, one in held.items()},
        },
    )


def measure(path: Path, *, batches: int, threads: int) -> Held:
    """:func:`serve` in a fresh process, which holds nothing else."""
    arguments = ["--model", str(path), "--batches", str(batches), "--serve", str(threads)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.hardening.memory", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Held(**json.loads(done.stdout))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if memory was not steady."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a defended file; default: the embedded example")
    parser.add_argument("--batches", type=int, default=10_000, help="per number of threads (10000)")
    parser.add_argument("--quick", action="store_true", help="1000 batches")
    parser.add_argument(
        "--save", action="store_true", help="write the counts to benchmarks/results/hardening"
    )
    parser.add_argument("--serve", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    batches = 1000 if args.quick else args.batches
    if batches < 2 * SHARE_OF_WARM_UP:
        raise InputError.mismatch(
            expected=f"at least {2 * SHARE_OF_WARM_UP} batches", got=str(batches), fix="serve more"
        )
    if args.serve:
        held = serve(args.model, batches=batches, threads=args.serve)
        print(json.dumps({"warm": held.warm, "most": held.most, "end": held.end}))
        return 0
    progress = Progress(sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        path = args.model
        if path is None:
            path = Path(folder) / "example.nip.onnx"
            progress("Exporting the example", 1)
            subprocess.run([sys.executable, "-c", _EXPORT, str(path)], check=True)
        stage = progress(f"Serving {batches} batches", len(THREADS))
        held_by = {}
        for threads in THREADS:
            held_by[threads] = measure(path, batches=batches, threads=threads)
            stage(1)
    found = record(held_by, path=path, batches=batches)
    return finish(found, saves=args.save)


if __name__ == "__main__":
    sys.exit(main())
