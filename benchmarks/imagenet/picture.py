"""The README's picture: one photograph, attacked, and what the network and the defended file say of it.

python -m benchmarks.imagenet.picture --photograph coffee.png --right espresso --work WORK

WORK holds the file that ``benchmarks.imagenet.export`` wrote. The photograph is Rachel Michetti's "Coffee" (CC0), which
scikit-image carries as ``skimage/data/coffee.png``; it took no part in export or calibration. It is one of two
that were tried: Stéfan van der Walt's "Chelsea" (CC0, a cat) goes from tiger cat to Egyptian cat, and the file says
tiger cat. An earlier form of the gate flagged it and corrected it wrongly (Tibetan terrier).
"""

# ruff: noqa: E501 (the text above is shown by --help)
from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.imagenet.attacks import PGD_STEPS
from benchmarks.imagenet.export import FILE
from benchmarks.imagenet.networks import MEAN, SIZE, STD, Network, load_network
from nip_evaluate.attacks.gradient import pgd
from nip_evaluate.given.target import Undefended
from nip_export.network.run import tapped_network
from nip_runtime import DefendedSession
from nip_runtime.inputs.images import read_image

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "attacked.jpg"
EPSILON = 4 / 255
SHORT_SIDE = 256
MAGNIFIED = 20


@dataclass(frozen=True)
class Shown:
    """A picture (224, 224, 3) in [0, 1] and what is said of it."""

    title: str
    pixels: NDArray[np.float32]
    network: str
    file: str
    suspicion: float
    flagged: bool


def photograph(path: Path) -> NDArray[np.float32]:
    """The central square of a photograph, (1, 3, 224, 224) in [0, 1]."""
    import cv2

    image = read_image(path, channels=3)
    height, width = image.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    top, left = ((length - SIZE) // 2 for length in small.shape[:2])
    cut = small[top : top + SIZE, left : left + SIZE]
    return np.ascontiguousarray(cut.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)


def attacked(clean: NDArray[np.float32], label: int) -> NDArray[np.float32]:
    """What PGD on the bare network makes of it."""
    network = tapped_network(
        load_network(Network.LITE0).requires_grad_(False), torch.from_numpy(clean), [], mean=MEAN, std=STD
    ).eval()

    craft = pgd(EPSILON, steps=PGD_STEPS)
    found = craft(
        Undefended(network).eval(), torch.from_numpy(clean), torch.tensor([label]), 0, lambda done: None
    )
    return np.asarray(found, dtype=np.float32)


def show(session: DefendedSession, title: str, pixels: NDArray[np.float32]) -> Shown:
    """Ask the file, which also holds the network's own answer."""
    names = session.manifest.output.class_names
    assert names is not None
    result = session.predict(pixels)
    return Shown(
        title,
        pixels[0].transpose(1, 2, 0),
        names[result.raw_labels[0]].replace("_", " "),
        names[result.labels[0]].replace("_", " "),
        float(result.suspicion[0]),
        bool(result.flagged[0]),
    )


def draw(shown: list[Shown], change: NDArray[np.float32], right: str, path: Path) -> None:
    """Three panels: the photograph, the attack's change magnified, the attacked photograph."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    clean, changed = shown
    figure, axes = pyplot.subplots(1, 3, figsize=(8.4, 3.4))
    axes[0].imshow(clean.pixels)
    axes[1].imshow(np.clip(0.5 + MAGNIFIED * change, 0, 1))
    axes[2].imshow(changed.pixels)
    for axis, title in zip(
        axes,
        (clean.title, f"what PGD adds, {255 * EPSILON:g}/255, × {MAGNIFIED}", changed.title),
        strict=True,
    ):
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    for axis, each in ((axes[0], clean), (axes[2], changed)):
        _say(axis, each, right)
    figure.tight_layout()
    figure.savefig(path, dpi=110, facecolor="white", bbox_inches="tight")
    pyplot.close(figure)


def _say(axis: Any, shown: Shown, right: str) -> None:
    for line, (who, what) in enumerate((("network alone", shown.network), ("defended file", shown.file))):
        axis.text(
            0,
            -0.07 - 0.09 * line,
            f"{who}: {what} {'✓' if what == right else '✗'}",
            transform=axis.transAxes,
            fontsize=9.5,
            color="#1b7f5c" if what == right else "#b83232",
        )
    axis.text(
        0,
        -0.25,
        f"suspicion {shown.suspicion:.2f}, {'flagged' if shown.flagged else 'not flagged'}",
        transform=axis.transAxes,
        fontsize=8,
        color="#4c4c4c",
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photograph", type=Path, required=True, metavar="FILE")
    parser.add_argument("--right", required=True, metavar="CLASS", help="what the photograph shows")
    parser.add_argument("--work", type=Path, required=True, help="folder with the defended file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    clean = photograph(options.photograph)
    with DefendedSession(options.work / FILE, device="cpu", threads=1) as session:
        label = int(session.predict(clean).raw_labels[0])
        found = attacked(clean, label)
        shown = [show(session, "a photograph", clean), show(session, "the same, attacked", found)]
        draw(
            shown,
            (found - clean)[0].transpose(1, 2, 0),
            options.right,
            PICTURE,
        )
    for each in shown:
        print(f"{each.title}: network {each.network}, file {each.file}, suspicion {each.suspicion:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
