"""Attacks of the Adversarial Robustness Toolbox (ART): APGD, JSMA, universal perturbation, one pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.attacks.evasion.auto_projected_gradient_descent import AutoProjectedGradientDescent
from art.attacks.evasion.pixel_threshold import PixelAttack
from art.attacks.evasion.saliency_map import SaliencyMapMethod
from art.attacks.evasion.universal_perturbation import UniversalPerturbation
from art.estimators.classification.pytorch import PyTorchClassifier
from torch import Tensor, nn

from nip_evaluate.attacks.crafting import BATCH, Budget, batched, misclassified, or_clean, seeded
from nip_evaluate.terms.threats import Craft, Norm
from nip_export.support.progress import Advance
from nip_runtime.errors import InputError

APGD_STEPS = 100
APGD_TARGETS = 3
JSMA_SHARE = 0.145
UAP_LEARNT_FROM = 200
UAP_ROUNDS = 3
UAP_STEP = 0.08
"""Of ε, for one image."""
PIXEL_GENERATIONS = 10


def apgd(epsilon: float, loss: str) -> Craft:
    """Auto-PGD within L∞ (Croce & Hein 2020); `loss`: "cross_entropy" or "difference_logits_ratio"."""

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        estimator = _estimator(victim, clean)
        if loss == "difference_logits_ratio" and estimator.nb_classes < 3:
            raise InputError.mismatch(
                expected="three classes or more for APGD-DLR, whose loss is scaled by the third logit",
                got=f"{estimator.nb_classes}",
                fix="leave this attack out",
            )
        search = AutoProjectedGradientDescent(
            estimator,
            norm=np.inf,
            eps=epsilon,
            eps_step=2 * epsilon,
            max_iter=APGD_STEPS,
            nb_random_init=1,
            batch_size=BATCH,
            loss_type=loss,
            verbose=False,
        )
        return _tensor(search.generate(clean.numpy(), truth.numpy()))

    return batched(attack, budget=Budget(Norm.LINF, epsilon), spare=False)


def apgd_targeted(epsilon: float) -> Craft:
    """Auto-PGD towards each of the most likely other classes in turn (after Croce & Hein 2020)."""

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        search = AutoProjectedGradientDescent(
            _estimator(victim, clean),
            norm=np.inf,
            eps=epsilon,
            eps_step=2 * epsilon,
            max_iter=APGD_STEPS,
            targeted=True,
            nb_random_init=1,
            batch_size=BATCH,
            # ART's logit ratio has no targeted form.
            loss_type="cross_entropy",
            verbose=False,
        )
        attacked = clean.clone()
        likely = _others_by_likelihood(victim, clean, truth)[:, :APGD_TARGETS]
        for target in likely.T:
            left = ~misclassified(victim, attacked, truth)
            if left.any():
                attacked[left] = _tensor(search.generate(clean[left].numpy(), target[left].numpy()))
        return attacked

    return batched(attack, budget=Budget(Norm.LINF, epsilon), spare=True)


def jsma() -> Craft:
    """Saturates the pair of values that speaks most for the runner-up class (Papernot et al. 2016)."""

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        search = SaliencyMapMethod(
            _estimator(victim, clean), theta=1.0, gamma=JSMA_SHARE, batch_size=BATCH, verbose=False
        )
        runner_up = _others_by_likelihood(victim, clean, truth)[:, 0]
        attacked = _tensor(search.generate(clean.numpy(), runner_up.numpy()))
        return or_clean(attacked, clean, misclassified(victim, attacked, truth))

    return batched(attack, budget=None, spare=True)


def universal(epsilon: float) -> Craft:
    """One change for all images (after Moosavi-Dezfooli et al. 2017), learnt from the first of them."""
    budget = Budget(Norm.LINF, epsilon)

    def craft(victim: nn.Module, images: Tensor, labels: Tensor, seed: int, advance: Advance) -> Tensor:
        if not len(images):
            return images.clone()
        first = images[:UAP_LEARNT_FROM]
        search = UniversalPerturbation(
            _estimator(victim, first),
            # Steps of DeepFool, as in the paper, end at a boundary and add up to less: 27 % fooled with them,
            # 66 % with small steps along the sign, on the embedded example.
            attacker="fgsm",
            attacker_params={"eps": epsilon * UAP_STEP, "batch_size": 1},
            delta=0.05,
            max_iter=UAP_ROUNDS,
            eps=epsilon,
            norm=np.inf,
            batch_size=BATCH,
            verbose=False,
        )
        with seeded(seed):
            search.generate(first.numpy(), labels[:UAP_LEARNT_FROM].numpy())
        # The noise itself, not the images that ART returns: it fits those that it was not learnt from too.
        noise = _tensor(np.asarray(search.noise))
        advance(len(images))
        return budget.keep(images + noise, images).clamp(0, 1)

    return craft


def one_pixel() -> Craft:
    """Differential evolution of one pixel's place and value (Su et al. 2019)."""

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        if clean.ndim != 4:
            raise InputError.mismatch(
                expected="images (N, C, H, W) for the one-pixel attack",
                got=f"inputs of shape {tuple(clean.shape)}",
                fix="leave this attack out",
            )
        search = PixelAttack(_estimator(victim, clean), th=1, es=1, max_iter=PIXEL_GENERATIONS, verbose=False)
        attacked = _tensor(search.generate(clean.numpy(), truth.numpy()))
        return or_clean(attacked, clean, misclassified(victim, attacked, truth))

    return batched(attack, budget=None, spare=True)


def _estimator(victim: nn.Module, images: Tensor) -> Any:
    with torch.no_grad():
        classes = victim(images[:1]).shape[1]
    return PyTorchClassifier(
        model=victim,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


@torch.no_grad()
def _others_by_likelihood(victim: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """All classes but the true one, most likely first: (n, C − 1)."""
    logits: Tensor = victim(images).scatter(1, labels[:, None], -torch.inf)
    return logits.argsort(1, descending=True)[:, :-1]


def _tensor(images: np.typing.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
