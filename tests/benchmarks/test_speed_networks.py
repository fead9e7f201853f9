"""The speed benchmark's networks are the published ones in size, and behave."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.speed.files import seeded_bank, seeded_bench, seeded_profile, seeded_readout
from benchmarks.speed.networks import NETWORKS, Name, images_of, make
from nip_export.config import ExportConfig

PUBLISHED_MILLIONS = {Name.RESNET50: 25.557, Name.MOBILENETV2: 3.505, Name.VIT_TINY: 5.717}


@pytest.mark.parametrize("name", list(Name), ids=str)
def test_sizes_and_outputs(name: Name) -> None:
    network = NETWORKS[name]
    model = network.factory().eval()
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == network.parameters
    if name in PUBLISHED_MILLIONS:
        assert round(count / 1e6, 3) == PUBLISHED_MILLIONS[name]
    with torch.inference_mode():
        logits = model(torch.zeros(1, *network.shape))
    assert logits.shape == (1, network.classes)


def test_images_are_seeded_and_differ() -> None:
    network = NETWORKS[Name.VIT_TINY]
    images = images_of(network, 3, seed=1)
    assert images.shape == (3, 3, 224, 224) and images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1
    assert np.array_equal(images, images_of(network, 3, seed=1))
    assert not np.array_equal(images, images_of(network, 3, seed=2))
    assert np.ptp(images.std((1, 2, 3))) > 0.01


def test_batch_norm_statistics_are_those_of_the_activations() -> None:
    network = NETWORKS[Name.FASHION_RESNET]
    model = make(network)
    again = make(network)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not model.training
    for norm in norms:
        assert norm.running_mean is not None and norm.running_var is not None
        assert norm.running_mean.abs().max() > 1e-3 and (norm.running_var - 1).abs().max() > 1e-3
    seen: list[torch.Tensor] = []
    hook = norms[-1].register_forward_hook(lambda module, given, result: seen.append(result))
    pixels = torch.from_numpy(images_of(network, 16, seed=1000))
    normalised = (pixels - network.mean[0]) / network.std[0]
    with torch.inference_mode():
        first = model(normalised)
        assert torch.equal(first, again(normalised))
    hook.remove()
    # What BatchNorm gives back is spread by its weights, from 0.5 to 1.5: nothing vanished or blew up.
    assert 0.2 < float(seen[0].std()) < 3


def test_a_seeded_defence_has_the_shapes_of_a_real_one_at_1000_classes() -> None:
    network = NETWORKS[Name.MOBILENETV2]
    config = ExportConfig(policy="always", mean=network.mean, std=network.std, batch_size=4)
    bench = seeded_bench(make(network), images_of(network, 4, seed=0), config)
    random = np.random.default_rng(0)
    bank = seeded_bank(bench, random)
    assert bank.steps.shape == (1000, 3, 56, 56) and bank.steps.dtype == np.int8
    assert bank.size_bytes <= 12_000_000
    assert float(np.abs(bank.dense()[0]).max()) <= config.eps * (1 + 1e-6)
    readout = seeded_readout(bench.early_grids[-1], bench, random)
    width = readout.weight.shape[0]
    assert readout.weight.shape == (width, 1000) and 320 <= width <= 1024
    pooled = bench.calibration_pass.pooled[readout.tap]
    assert 0.5 < float((pooled @ readout.weight + readout.bias).std()) < 2
    profile = seeded_profile(bench, random)
    assert profile.front.shape == (1000, config.top_k)
