"""A folder of JPEG files through ``predict_stream``, against plain loops that read, then predict.

    python -m benchmarks.streaming MODEL.nip.onnx [--images 192] [--rounds 12] [--threads 1]

Cases, all in every round, on the same files:

    one by one   read a file, predict it
    in batches   read a batch of files, predict it
    stream 1     predict_stream with the same batch, one run at a time
    stream 2     two runs at a time, the default

Predicted: a stream ends when its slowest stage does, or when the cores have nothing left. With R seconds of
reading alone in one thread, C of predicting alone in batches on c threads, w decoding threads, r runs at
once and k cores, the least is max(R / w, C / min(r, k / c), (R + c · C) / k), against R + C of the loop in
batches. R and C are measured in the same rounds. Runs that do not fill their threads can beat that figure.

The answers are compared with those of the loops. Writes benchmarks/results/streaming.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.manifest import InputSpec, Resize
from nip_runtime.inputs.images import read_image, resize_image
from nip_runtime.operate.bench.machine import Machine, describe
from nip_runtime.operate.bench.rounds import Case, Spread, Times, paired, ratio, spread
from nip_runtime.run.providers import usable_cores
from nip_runtime.session import DefendedSession

RESULT = Path(__file__).parent / "results" / "streaming.json"
SIZE = (640, 480)
QUALITY = 90
STREAMS = {"stream 1": 1, "stream 2": 2}
"""Cases, by runs at once."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What was streamed, and how."""

    model: str
    engine: str
    images: int
    image_size: tuple[int, int]
    batch: int
    workers: int
    threads: int
    rounds: int

    def __post_init__(self) -> None:
        for name in ("images", "batch", "workers", "threads", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """Times of one pass over all images, and ratios within rounds.

    Attributes:
        seconds: by case, and of reading alone and predicting alone.
        images_per_s: likewise.
        over_one_by_one: each stream's time over that of the loop over files.
        over_batches: over that of the loop in batches.
        predicted_over_batches: the least that can be, from reading alone and predicting alone.
    """

    machine: Machine
    setup: Setup
    seconds: dict[str, Spread]
    images_per_s: dict[str, float]
    over_one_by_one: dict[str, Spread]
    over_batches: dict[str, Spread]
    predicted_over_batches: dict[str, float]


def write_photos(folder: Path, count: int, *, seed: int = 0) -> list[Path]:
    """JPEG files as large on disk as photographs of their size: smooth shapes and a little noise."""
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
        picture = np.asarray(cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC), np.float64)
        picture += rng.normal(0, 6, picture.shape)
        path = folder / f"{number:05}.jpg"
        whole = np.clip(picture, 0, 255).astype(np.uint8)
        if not cv2.imwrite(str(path), whole, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
            raise OSError(f"can't write {path}")
        paths.append(path)
    return paths


def measure(session: DefendedSession, paths: Sequence[Path], setup: Setup) -> Streaming:
    """Run all cases in every round, compare their answers, and say how long they took."""
    spec = session.manifest.input
    starts = range(0, len(paths), setup.batch)
    batches = [_read_batch(paths[start : start + setup.batch], spec) for start in starts]
    cases: dict[str, Case] = {
        "one by one": partial(_in_batches, session, paths, 1),
        "in batches": partial(_in_batches, session, paths, setup.batch),
        **{name: partial(_streamed, session, paths, setup, runs) for name, runs in STREAMS.items()},
        "reading alone": lambda: [_read_batch(paths[start : start + setup.batch], spec) for start in starts],
        "predicting alone": lambda: [session.predict(batch) for batch in batches],
    }
    expected = _in_batches(session, paths, 1)
    for name in ("in batches", *STREAMS):
        if cases[name]() != expected:
            raise ValueError(f"{name}: expected the answers of the loop, got others")
    times = paired(cases, rounds=setup.rounds, warmup=1, advance=_show_round)
    return _summed_up(times, setup)


def least_s(reading_s: float, predicting_s: float, setup: Setup, *, runs: int, cores: int) -> float:
    """The least that a stream can take; see the head of this module."""
    busy = min(setup.threads, cores)
    return max(
        reading_s / setup.workers,
        predicting_s / min(runs, cores / busy),
        (reading_s + busy * predicting_s) / cores,
    )


def _summed_up(times: Mapping[str, Times], setup: Setup) -> Streaming:
    cores = usable_cores().count
    reading, predicting = (float(np.median(times[f"{what} alone"])) for what in ("reading", "predicting"))
    return Streaming(
        machine=describe(),
        setup=setup,
        seconds={name: spread(values) for name, values in times.items()},
        images_per_s={name: setup.images / float(np.median(values)) for name, values in times.items()},
        over_one_by_one={name: ratio(times[name], times["one by one"]) for name in STREAMS},
        over_batches={name: ratio(times[name], times["in batches"]) for name in STREAMS},
        predicted_over_batches={
            name: least_s(reading, predicting, setup, runs=runs, cores=cores) / (reading + predicting)
            for name, runs in STREAMS.items()
        },
    )


def _read(path: Path, spec: InputSpec) -> NDArray[np.uint8]:
    channels, height, width = spec.shape
    image = read_image(path, channels=channels)
    how = spec.resize or Resize.AREA
    return resize_image(image, height=height, width=width, resize=how, preprocess=spec.preprocess)


def _read_batch(paths: Sequence[Path], spec: InputSpec) -> NDArray[np.uint8]:
    return np.stack([_read(path, spec) for path in paths])


def _in_batches(session: DefendedSession, paths: Sequence[Path], batch: int) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    for start in range(0, len(paths), batch):
        prediction = session.predict(_read_batch(paths[start : start + batch], session.manifest.input))
        found += zip(prediction.labels.tolist(), prediction.suspicion.tolist(), strict=True)
    return found


def _streamed(
    session: DefendedSession, paths: Sequence[Path], setup: Setup, runs: int
) -> list[tuple[int, float]]:
    spec = session.manifest.input
    answers = session.predict_stream(
        paths,
        decode=lambda path: _read(path, spec),
        batch=setup.batch,
        workers=setup.workers,
        runs=runs,
    )
    return [(answer.label, answer.suspicion) for answer in answers]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write, and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="defended file of a model of grey or colour images")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=usable_cores().count, help="of one run")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)  # reading is parallel over files, in the stream alone
    with (
        tempfile.TemporaryDirectory() as folder,
        DefendedSession(args.model, device="cpu", threads=args.threads) as session,
    ):
        setup = Setup(
            model=args.model.name,
            engine=session.engine,
            images=args.images,
            image_size=SIZE,
            batch=args.batch,
            workers=args.workers,
            threads=args.threads,
            rounds=args.rounds,
        )
        result = measure(session, write_photos(Path(folder), setup.images), setup)
        print(file=sys.stderr)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    for name, rate in result.images_per_s.items():
        print(f"{name:18}{rate:9.1f} images/s")
    for name in STREAMS:
        loop, batches = result.over_one_by_one[name], result.over_batches[name]
        print(
            f"{name} / one by one: {_shown(loop)}; / in batches: {_shown(batches)}, "
            f"predicted at least {result.predicted_over_batches[name]:.3f}"
        )
    return 0


def _show_round(_: int) -> None:
    print(".", end="", file=sys.stderr, flush=True)


def _shown(found: Spread) -> str:
    return f"{found.median:.3f} ({found.low:.3f}–{found.high:.3f})"


if __name__ == "__main__":
    raise SystemExit(main())
