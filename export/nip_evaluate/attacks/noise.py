"""Noise without knowledge: the floor under every attack."""

from __future__ import annotations

from foolbox.attacks.additive_noise import LinfRepeatedAdditiveUniformNoiseAttack
from foolbox.criteria import Misclassification
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from nip_evaluate.attacks.crafting import Budget, batched
from nip_evaluate.terms.threats import Craft, Norm

NOISE_DRAWS = 20


def uniform_noise(epsilon: float) -> Craft:
    """Uniform noise scaled to ε, the first of some draws that fools; unfooled images stay as they are."""

    def attack(victim: nn.Module, clean: Tensor, truth: Tensor) -> Tensor:
        search = LinfRepeatedAdditiveUniformNoiseAttack(repeats=NOISE_DRAWS)
        model = PyTorchModel(victim, bounds=(0, 1), device="cpu")
        attacked: Tensor = search.run(model, clean, Misclassification(truth), epsilon=epsilon)
        return attacked

    return batched(attack, budget=Budget(Norm.LINF, epsilon), spare=True)
