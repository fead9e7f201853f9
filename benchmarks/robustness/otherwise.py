"""What a file that begins its view with JPEG makes of benign images of another origin.

    python -m benchmarks.robustness.otherwise --work WORK --cifar DATA [--networks cifar-resnet20 …] [--alone]
    python -m benchmarks.robustness.otherwise [--check]    # only the table in benchmarks/README.md

The file of 1.5 points, which `benchmarks.robustness.run` left in WORK, answers the 1,000 images that tell the
benign cost: as they were stored, moved, cropped and resized, stored again, under noise. Nobody attacked any.
With --alone, so does a file of the same network and budget whose view is the round trip and nothing else.
Writes benchmarks/results/robustness-otherwise.json and the table in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.markdown import Block, table
from benchmarks.robustness.afterwards import RESULTS, Afterwards, Results
from benchmarks.robustness.networks import kind_of
from benchmarks.robustness.run import Folders, material_of, prepare
from nip_export.data import to_model_input
from nip_export.pipeline import write_defended
from nip_export.support.progress import progress_bars
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.rates import Rate
from nip_runtime.session import DefendedSession

BLOCK = Block(
    "<!-- images stored otherwise: written by benchmarks/robustness/otherwise.py -->\n",
    "<!-- end of images stored otherwise -->\n",
)
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def stored_again(images: Pixels, quality: int) -> Pixels:
    """Images uint8 (N, H, W, 3) after OpenCV's JPEG encoder and decoder."""
    found = []
    for image in images:
        done, stream = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(stream, cv2.IMREAD_COLOR) if done else None
        if decoded is None:
            raise RuntimeError(f"OpenCV could not store an image at quality {quality}")
        found.append(decoded[:, :, ::-1])
    return np.stack(found).astype(np.uint8)


def cropped(images: Pixels) -> Pixels:
    """The inner 28 × 28 of 32 × 32 pixels, resized."""
    found = [cv2.resize(image[2:30, 2:30], (32, 32), interpolation=cv2.INTER_LINEAR) for image in images]
    return np.stack(found).astype(np.uint8)


def noisy(images: Floats, size: float) -> Floats:
    """Gaussian noise of a standard deviation, the same for every file."""
    noise = np.random.default_rng(0).normal(0, size, images.shape)
    return (images + noise).clip(0, 1).astype(np.float32)


ORIGINS: dict[str, Callable[[Pixels], Floats]] = {
    "as it was stored, JPEG 75": lambda images: to_model_input(images, 3),
    "moved by 1 and 3 pixels": lambda images: to_model_input(np.roll(images, (1, 3), (1, 2)), 3),
    "cropped and resized": lambda images: to_model_input(cropped(images), 3),
    "stored again at 90": lambda images: to_model_input(stored_again(images, 90), 3),
    "stored again at 60": lambda images: to_model_input(stored_again(images, 60), 3),
    "noise of 1/255": lambda images: noisy(to_model_input(images, 3), 1 / 255),
    "noise of 4/255": lambda images: noisy(to_model_input(images, 3), 4 / 255),
}


def measured(path: Path, images: Pixels, labels: NDArray[np.int64]) -> dict[str, dict[str, dict[str, int]]]:
    """Per origin: accuracy before and after, and right answers flagged."""
    session = DefendedSession(path, device="cpu")
    found: dict[str, dict[str, dict[str, int]]] = {}
    for origin, made in ORIGINS.items():
        answers = session.predict(made(images))
        right = answers.raw_labels == labels
        found[origin] = {
            name: {"count": int(which.sum()), "n": len(which)}
            for name, which in (
                ("before", right),
                ("after", answers.labels == labels),
                ("flagged", answers.flagged[right]),
            )
        }
    return found


def alone(folders: Folders, name: str, path: Path, file: Path) -> Path:
    """Export a network to `path`, the round trip of the view of `file` being all of it; same budget."""
    manifest = read_artifact(file).manifest
    steps = [step for step in manifest.gate.view if step.quality] if manifest.gate is not None else []
    if len(steps) != 1:
        raise ValueError(f"{file}: expected a view with one round trip through JPEG, got {steps}")
    with progress_bars() as progress:
        made = prepare(material_of(folders, name), kind_of(name), progress, view=steps[0].value)
        write_defended(made, path, benign_budget=manifest.calibration.benign_budget)
    return path


def lines(results: Results) -> list[str]:
    """All files as one table."""
    rows = []
    for network, origins in results.items():
        for origin, rates in origins.items():
            shown = []
            for name in ("before", "after", "flagged"):
                rate = Rate(rates[name]["count"], rates[name]["n"])
                low, high = rate.interval
                shown.append(f"{100 * rate.value:.1f} ({100 * low:.1f}–{100 * high:.1f})")
            rows.append([network, origin, *shown])
    head = ["network", "benign images", "accuracy before, %", "after, %", "right answers flagged, %"]
    return table(head, rows)


def measured_with(
    folders: Folders, network: str, path: Path, options: argparse.Namespace
) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    """What a network's file makes of the images, and with --alone one whose view is the round trip."""
    further = folders.splits(kind_of(network)).further
    found = {network: measured(path, further.images, further.labels)}
    if options.alone:
        made = alone(folders, network, folders.work / f"{network}-alone.nip.onnx", path)
        found[f"{network}, JPEG alone as the view"] = measured(made, further.images, further.labels)
    return found


OTHERWISE = Afterwards(
    results=RESULTS / "robustness-otherwise.json", block=BLOCK, lines=lines, measured=measured_with
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alone", action="store_true", help="the round trip alone as the view, too")
    return OTHERWISE.main(parser, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
