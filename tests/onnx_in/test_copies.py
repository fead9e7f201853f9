"""A rebuilt network is copied by whoever attacks it, however many operators it has."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from onnx import helper

from nip_evaluate.attacks.gradient import fgsm
from nip_evaluate.attacks.run import run_attack
from nip_evaluate.terms.threats import AttackCase, Norm, Threat
from nip_export import from_onnx
from tests.onnx_in.made import Form, bars, classifier

pytest.importorskip("onnx2fx", reason="the extra onnx-in is not installed")

OPERATORS = 250
"""Copied one by one along the links between them, so many are deeper than Python goes."""


def test_a_network_of_many_operators_is_copied_and_attacked() -> None:
    names = ["middle", *(f"value{number}" for number in range(1, OPERATORS)), "middle_out"]
    chain = [helper.make_node("Relu", [before], [after]) for before, after in pairwise(names)]
    network = from_onnx(classifier(Form(more=chain)).SerializeToString())
    pixels, labels = bars(12, seed=3)
    images = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    copied = copy.deepcopy(network)
    asked = torch.from_numpy(images)
    with torch.no_grad():
        before = network(asked)
        assert torch.equal(copied(asked), before)
        for weight in copied.parameters():
            weight.zero_()
        assert not torch.equal(copied(asked), before) and torch.equal(network(asked), before)
    assert copied.graph is network.graph
    case = AttackCase(
        name="FGSM 8/255",
        family="FGSM",
        threat=Threat.GRAY_BOX,
        library="own",
        source="Goodfellow et al. 2015",
        settings="one step",
        craft=fgsm(8 / 255),
        norm=Norm.LINF,
        epsilon=8 / 255,
    )
    attacked = run_attack(case, network.eval(), images, labels, seed=0)
    assert 0 < np.abs(attacked.images - images).max() <= 8 / 255 + 1e-6
