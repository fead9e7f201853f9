"""Prepared examples for ``nip ui``: benign images, and what attacks that need gradients make of them.

Everything is rounded to whole 8-bit values: an attacked image is then one that could be saved as a picture,
and stays within its ε, for benign pixels and ε are such values too.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nip_evaluate.adaptive import adaptive_cases
from nip_evaluate.adaptive.ascent import Ball, ascend
from nip_evaluate.adaptive.passes import margin
from nip_export.data import ImageSet, to_model_input
from nip_export.fit.stages import EXAMPLES
from nip_export.network import evaluation_mode
from nip_export.support.progress import Progress, silent
from nip_export.verify import DefendedTwin
from nip_export.write.report import ExportReport
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Precision
from nip_runtime.operate.ui.examples import examples_beside
from nip_runtime.session import DefendedSession
from nip_runtime.support.writing import check_target, write_whole

IMAGES: Final = 24
FGSM_EPS: Final = (8, 25)
PGD_EPS: Final = (2, 4, 8, 16, 25)
ADAPTIVE_EPS: Final = (4, 8)
STEPS: Final = 50
UNIVERSAL_EPS: Final = 16 / 255
UNIVERSAL_STEPS: Final = 60
_UNIVERSAL_IMAGES: Final = 256
_ENOUGH_LOSS: Final = 3.0
_ADAPTIVE: Final = {"misleads the defence": "soft selection", "passes under the gate": "under the gate"}
"""Adaptive attacks by the name that the page gives them, and how the evaluation calls them."""


@dataclass(frozen=True, eq=False)
class _Attacked:
    name: str
    eps: float
    images: Tensor


def check_ui_examples(model: Path, examples: ImageSet, others: ImageSet) -> None:
    """Refuse, before long work, images that no examples can be made of.

    Args:
        model: the file that they will stand beside.
        examples: images to choose from.
        others: images of the export.

    Raises:
        InputError: they are no 8-bit images of 1 or 3 channels, or the examples can't be written.
    """
    channels = examples.images.shape[3] if examples.images.ndim == 4 else 1
    if examples.images.dtype != np.uint8 or channels not in (1, 3):
        raise InputError.mismatch(
            expected="grey or RGB images as uint8 for --ui-examples",
            got=f"{examples.images.dtype} {examples.images.shape}",
            fix="pass pictures, or an .npz with uint8 (N,H,W) or (N,H,W,C)",
        )
    if others.bounds != (0.0, 1.0):
        raise InputError.mismatch(
            expected="pixels in [0, 1] for --ui-examples",
            got=f"inputs within {others.bounds}",
            fix="leave --ui-examples out",
        )
    shapes = [to_model_input(each.images[:1], channels).shape[1:] for each in (examples, others)]
    if shapes[0] != shapes[1]:
        raise InputError.mismatch(
            expected=f"--ui-examples of shape {shapes[1]}, as --data",
            got=str(shapes[0]),
            fix="resize them, or both with --size; inputs that are no images can't be shown",
        )
    check_target(examples_beside(model))


def write_ui_examples(
    report: ExportReport,
    examples: ImageSet,
    others: ImageSet,
    *,
    images: int = IMAGES,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress = silent,
) -> Path:
    """Attack a few images of a finished export and write them beside the file.

    FGSM and PGD are made on the network, gray-box (T1); adaptive attacks, for fp32 files, on the whole
    defence (T4).

    Args:
        report: of the export.
        examples: uint8 images to choose from, best never seen by training or export. Of those that the
            network labels rightly, the first of every class are taken in turn.
        others: images that the universal perturbation is found on.
        images: how many are taken at most.
        steps: gradient steps of the iterated attacks.
        seed: of random starts.
        progress: called with title and amount of work of every stage.

    Returns:
        The path of the ``.npz``.

    Raises:
        InputError: `examples` are no 8-bit images that fit the model, or the network labels none rightly.
    """
    check_ui_examples(report.path, examples, others)
    channels = report.manifest.input.shape[0]
    chosen = _chosen(report.path, examples, images)
    clean = torch.from_numpy(to_model_input(chosen.images, channels))
    labels = torch.from_numpy(chosen.labels)
    network = _Logits(report.network)
    is_fp32 = report.manifest.precision is Precision.FP32  # the twin computes in nothing else
    adaptive = len(_ADAPTIVE) * len(ADAPTIVE_EPS) if is_fp32 else 0
    advance = progress(EXAMPLES, len(FGSM_EPS) + len(PGD_EPS) + adaptive + 1)
    attacked = []
    with evaluation_mode(report.network):
        for attack in _attacks(report, network, clean, labels, is_fp32=is_fp32, steps=steps, seed=seed):
            attacked.append(attack)
            advance(1)
        rows = to_model_input(others.images[:_UNIVERSAL_IMAGES], channels)
        pattern = _universal(network, torch.from_numpy(rows), others.labels[:_UNIVERSAL_IMAGES])
        advance(1)
    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        images=_pictures(clean),
        labels=chosen.labels,
        attacked=np.stack([_pictures(each.images) for each in attacked]),
        attacks=np.array([each.name for each in attacked]),
        eps=np.array([each.eps for each in attacked], np.float64),
        universal=np.rint(pattern.numpy().transpose(1, 2, 0) * 127).astype(np.int8),
        graph_digest=np.array(report.manifest.digests.graph),
    )
    target = examples_beside(report.path)
    write_whole(target, packed.getvalue())
    return target


class _Logits(nn.Module):
    """The network without its taps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of images (N, *shape)."""
        logits: Tensor = self.network(images)[0]
        return logits


def _chosen(model: Path, examples: ImageSet, count: int) -> ImageSet:
    """Rightly labelled images, class by class in turn."""
    with DefendedSession(model, device="cpu") as session:
        right = np.flatnonzero(session.predict(examples.images).raw_labels == examples.labels)
    if not len(right):
        raise InputError.mismatch(
            expected="images for --ui-examples that the network labels rightly",
            got=f"none among {len(examples)}",
            fix="check their classes, or pass others",
        )
    labels = examples.labels[right]
    turn = np.array([(labels[:place] == label).sum() for place, label in enumerate(labels)])
    return examples.take(right[np.lexsort((labels, turn))][:count])


def _attacks(
    report: ExportReport,
    network: nn.Module,
    clean: Tensor,
    labels: Tensor,
    *,
    is_fp32: bool,
    steps: int,
    seed: int,
) -> Iterator[_Attacked]:
    for eps in FGSM_EPS:
        moved = clean + eps / 255 * _gradient(network, clean, labels).sign()
        yield _Attacked("FGSM", eps, moved.clamp(0, 1))
    for eps in PGD_EPS:
        yield _Attacked("PGD", eps, _pgd(network, clean, labels, eps / 255, steps=steps, seed=seed))
    if not is_fp32:
        return
    twin = DefendedTwin(report.network, report.spec).eval()
    for name, words in _ADAPTIVE.items():
        for eps in ADAPTIVE_EPS:
            case = next(case for case in adaptive_cases((eps / 255,), quick=True) if words in case.family)
            yield _Attacked(name, eps, case.craft(twin, clean, labels, seed, lambda done: None))


def _gradient(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    images = images.detach().requires_grad_()
    loss = functional.cross_entropy(network(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    return gradient


def _pgd(
    network: nn.Module, clean: Tensor, labels: Tensor, epsilon: float, *, steps: int, seed: int
) -> Tensor:
    """The images within ε that the network gets most wrong: PGD with adapted steps (Croce and Hein 2020)."""
    noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1

    def climb(images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        value = margin(network(images), labels[rows], None)
        return value, value.detach()

    ball = Ball(clean, epsilon, (0.0, 1.0))
    return ascend(climb, ball, clean + epsilon * noise, steps=steps, until=torch.inf).images


def _universal(network: nn.Module, images: Tensor, labels: NDArray[np.int64]) -> Tensor:
    """One pattern (C, H, W) in [−1, 1] for all images: signed ascent on their mean loss.

    After Moosavi-Dezfooli et al., Universal adversarial perturbations, CVPR 2017. Losses beyond what a wrong
    label takes count no more, so that few images don't outweigh the others.
    """
    truth = torch.from_numpy(labels)
    pattern = torch.zeros(images.shape[1:])
    velocity = torch.zeros_like(pattern)
    for step in range(UNIVERSAL_STEPS):
        moved = pattern.detach().requires_grad_()
        shown = (images + UNIVERSAL_EPS * moved).clamp(0, 1)
        losses = functional.cross_entropy(network(shown), truth, reduction="none")
        (gradient,) = torch.autograd.grad(losses.clamp(max=_ENOUGH_LOSS).mean(), moved)
        velocity = 0.9 * velocity + gradient / gradient.abs().mean().clamp_min(1e-12)
        pattern = (pattern + 0.2 * (1 - step / UNIVERSAL_STEPS) * velocity.sign()).clamp(-1, 1)
    return pattern.detach()


def _pictures(images: Tensor) -> NDArray[Any]:
    """uint8 (N, H, W, C)."""
    rounded = np.rint(images.detach().numpy() * 255).astype(np.uint8)
    return np.ascontiguousarray(rounded.transpose(0, 2, 3, 1))
