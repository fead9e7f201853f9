from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from foolbox.attacks.fast_gradient_method import LinfFastGradientAttack
from foolbox.models.pytorch import PyTorchModel

from nip_evaluate.report.page import render_page
from nip_evaluate.terms.results import Evaluation
from nip_evaluate.terms.threats import Images, Labels
from nip_export.data import to_model_input
from nip_export.demo.example import Example, load_example
from nip_export.network.run import tapped_network
from nip_export.network.tapped import TappedNetwork
from tests.evaluate.page import synthetic

LAYER = "activation"
EPSILON = 25 / 255


@dataclass(frozen=True)
class Fgsm:
    """Forty test images of the embedded example before and after FGSM, and what the network says to both."""

    example: Example
    network: TappedNetwork
    clean: Images
    attacked: Images
    truth: Labels
    before: Labels
    after: Labels

    def labels(self, images: Images) -> Labels:
        return predict(self.network, images)

    @property
    def turned(self) -> Labels:
        return np.flatnonzero((self.before == self.truth) & (self.after != self.truth))


def predict(network: TappedNetwork, images: Images) -> Labels:
    with torch.no_grad():
        labels: Labels = network(torch.from_numpy(images))[0].argmax(1).numpy()
    return labels


@pytest.fixture(scope="session")
def fgsm() -> Fgsm:
    example = load_example()
    clean = to_model_input(example.test.images[:40], 1)
    truth = example.test.labels[:40]
    tensor = torch.from_numpy(clean)
    network = tapped_network(example.model, tensor, [LAYER], mean=example.mean, std=example.std).eval()
    bare = tapped_network(example.model, tensor, [], mean=example.mean, std=example.std).eval()

    class First(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = bare(x)[0]
            return logits

    model = PyTorchModel(First().eval(), bounds=(0, 1), device="cpu")
    attack = LinfFastGradientAttack(random_start=False)
    _, crafted, _ = attack(model, tensor, torch.from_numpy(truth), epsilons=EPSILON)
    attacked = crafted.detach().numpy()
    return Fgsm(example, network, clean, attacked, truth, predict(network, clean), predict(network, attacked))


@pytest.fixture(scope="session")
def full() -> Evaluation:
    return synthetic.full()


@pytest.fixture(scope="session")
def full_page(full: Evaluation) -> str:
    return render_page(full, synthetic.gallery())


@pytest.fixture(scope="session")
def minimal_page() -> str:
    return render_page(synthetic.minimal(), None)


@pytest.fixture(scope="session")
def edge_page() -> str:
    return render_page(synthetic.edge(), None)
