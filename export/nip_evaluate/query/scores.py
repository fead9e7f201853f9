"""Attacks that see the scores of the deployed file: Square, from ART."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from art.attacks.evasion.square_attack import SquareAttack
from art.estimators.classification.blackbox import BlackBoxClassifierNeuralNetwork
from numpy.typing import NDArray
from torch import Tensor, nn

from nip_evaluate.attacks.crafting import BATCH, Budget, batched
from nip_evaluate.terms.threats import Craft, Norm
from nip_runtime.errors import InputError

FloatArray = NDArray[np.float32]


class RememberedAnswers:
    """Asks the victim no question twice: ART asks for the same image up to three times a step.

    Args:
        victim: takes images (n, *shape), returns logits (n, C).
    """

    def __init__(self, victim: nn.Module) -> None:
        self._victim = victim
        self._known: dict[bytes, FloatArray] = {}

    def __call__(self, images: NDArray[Any]) -> FloatArray:
        """Logits (n, C) float32 of images (n, *shape), n ≥ 1."""
        rows = np.ascontiguousarray(images, dtype=np.float32)
        keys = [blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
        new = {key: index for index, key in enumerate(keys) if key not in self._known}
        if new:
            with torch.no_grad():
                answers = self._victim(torch.from_numpy(rows[list(new.values())])).numpy()
            self._known.update(zip(new, answers, strict=True))
        return np.stack([self._known[key] for key in keys])


SHARE = 0.8
"""Of an image's values, in the first square."""


def first_share(height: int, width: int) -> float:
    """The share of an image in the first square: :data:`SHARE` where such a square fits in, else less.

    ART ends with an error where a square is as large as the shorter side of an image.
    """
    largest = min(height, width) - 1
    return min(SHARE, (largest + 0.4) ** 2 / (height * width))


def square(epsilon: float, queries: int) -> Craft:
    """Random squares within L∞, kept if the margin shrinks (Andriushchenko et al. 2020).

    Args:
        epsilon: largest change of a value.
        queries: asked per image at most, about: one per step.
    """

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        if clean.ndim != 4 or min(clean.shape[2:]) < 2:
            raise InputError.mismatch(
                expected="images (N, C, H, W) of at least 2×2 for the Square attack",
                got=f"inputs of shape {tuple(clean.shape)}",
                fix="leave this attack out",
            )
        answers = RememberedAnswers(victim)
        classifier = BlackBoxClassifierNeuralNetwork(
            answers,
            input_shape=tuple(clean.shape[1:]),
            nb_classes=answers(clean[:1].numpy()).shape[1],
            channels_first=True,
            clip_values=(0.0, 1.0),
        )
        search = SquareAttack(
            classifier,
            norm=np.inf,
            max_iter=queries,
            eps=epsilon,
            p_init=first_share(*clean.shape[2:]),
            nb_restarts=1,
            batch_size=BATCH,
            verbose=False,
        )
        attacked = search.generate(clean.numpy(), truth.numpy())
        return torch.from_numpy(np.ascontiguousarray(attacked, dtype=np.float32))

    return batched(attack, budget=Budget(Norm.LINF, epsilon), spare=True)
