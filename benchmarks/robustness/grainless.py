"""What an attack without grain costs the file, and the attacker: the same change in every channel.

    python -m benchmarks.robustness.grainless --work WORK --cifar DATA [--networks cifar-resnet20 …]
    python -m benchmarks.robustness.grainless [--check]    # only the table in benchmarks/README.md

foolbox's iterative attack without random start (BIM) follows the gradient of the undefended network, and once more
its mean over the channels, so that red, green and blue change alike (but for pixels at the bounds). It knows
nothing of the defence but that colours should stay smooth. The file of 1.5 points, which
`benchmarks.robustness.run` left in WORK, answers the first 300 attacked images.
Writes benchmarks/results/robustness-grainless.json.
"""

# ruff: noqa: E501 (the text above is shown by --help)
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.markdown import Block, table
from benchmarks.robustness.afterwards import RESULTS, Afterwards, Results
from benchmarks.robustness.networks import kind_of
from benchmarks.robustness.run import Folders, load_network, normalisation
from nip_evaluate.attacks.gradient import bim
from nip_evaluate.given.target import Undefended
from nip_export.data import to_model_input
from nip_export.network.grain import grain
from nip_export.network.run import tapped_network
from nip_runtime.file.rates import Rate
from nip_runtime.session import DefendedSession

BLOCK = Block(
    "<!-- attacks without grain: written by benchmarks/robustness/grainless.py -->\n",
    "<!-- end of attacks without grain -->\n",
)
ATTACKED = 300
SIZES = (2, 4, 8)
"""ε in 255ths."""
HOW = {"apart": "every channel by itself", "alike": "the same in every channel"}


class _Mean(torch.autograd.Function):
    """Images as they are; backwards, the mean of the channels' gradients in each of them."""

    @staticmethod
    def forward(_: Any, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        return gradient.mean(1, keepdim=True).expand_as(gradient)


class Alike(nn.Module):
    """A network whose attackers move every channel (N, C, H, W) alike."""

    def __init__(self, victim: nn.Module) -> None:
        super().__init__()
        self.victim = victim

    def forward(self, images: Tensor) -> Tensor:
        """Its logits (N, classes)."""
        logits: Tensor = self.victim(_Mean.apply(images))  # type: ignore[no-untyped-call]
        return logits


def measured(folders: Folders, name: str, path: Path) -> list[dict[str, Any]]:
    """Per size and kind of change: images fooled, and of these repaired and detected."""
    kind, test = kind_of(name), folders.splits(kind_of(name)).test
    images, labels = to_model_input(test.images[:ATTACKED], 3), test.labels[:ATTACKED]
    mean, std = normalisation(kind)
    model = load_network(folders, name).requires_grad_(False)
    network = tapped_network(model, torch.from_numpy(images[:2].copy()), [], mean=mean, std=std).eval()
    victim, session = Undefended(network).eval(), DefendedSession(path, device="cpu")
    right, rows = session.predict(images).raw_labels == labels, []
    for size in SIZES:
        for how, attacked in (("apart", victim), ("alike", Alike(victim).eval())):
            found = bim(size / 255)(
                attacked, torch.from_numpy(images), torch.from_numpy(labels), 0, lambda done: None
            ).numpy()
            answers = session.predict(found)
            fooled = right & (answers.raw_labels != labels)
            rates = {
                "fooled": fooled[right],
                "repaired": (answers.labels == labels)[fooled],
                "detected": answers.flagged[fooled],
            }
            row: dict[str, Any] = {"epsilon": size, "how": how, "grain": float(grain(found).mean())}
            row |= {what: {"count": int(which.sum()), "n": len(which)} for what, which in rates.items()}
            rows.append(row)
    return rows


def lines(results: Results) -> list[str]:
    """All networks as one table."""
    rows = []
    for network, found in results.items():
        for row in found:
            shown = []
            for what in ("fooled", "detected", "repaired"):
                rate = Rate(row[what]["count"], row[what]["n"])
                low, high = rate.interval
                shown.append(f"{100 * rate.value:.1f} ({100 * low:.1f}–{100 * high:.1f}), n = {rate.n}")
            rows.append(
                [network, f"{row['epsilon']}/255", HOW[row["how"]], f"{255 * row['grain']:.1f}", *shown]
            )
    head = ["network", "ε", "change", "mean grain, levels", "fooled, %", "detected, %", "repaired, %"]
    return table(head, rows)


GRAINLESS = Afterwards(
    results=RESULTS / "robustness-grainless.json",
    block=BLOCK,
    lines=lines,
    measured=lambda folders, name, path, _: {name: measured(folders, name, path)},
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return GRAINLESS.main(parser, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
