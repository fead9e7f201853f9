from __future__ import annotations

import numpy as np
import pytest
import torch

from nip_evaluate.report.page import influence_groups
from nip_evaluate.report.page.influence import group_means
from nip_evaluate.terms.threats import Images, Labels
from nip_export.fit.profiles import InfluenceProfile, influence_profiles
from nip_export.network import Tap, TapKind
from nip_export.network.run import TapCells
from nip_runtime.errors import InputError
from tests.evaluate.page.conftest import LAYER, Fgsm

TAP = Tap(LAYER, TapKind.VECTOR, (128,))


@pytest.fixture(scope="module")
def profile(fgsm: Fgsm) -> InfluenceProfile:
    made = influence_profiles(
        fgsm.network,
        fgsm.clean,
        fgsm.truth,
        [TapCells(TAP, 1)],
        classes=10,
        top_k=12,
        batch_size=40,
        device=torch.device("cpu"),
    )
    return made[LAYER]


def by_hand(fgsm: Fgsm, images: Images, labels: Labels, profile: InfluenceProfile) -> Images:
    """The layer feeds a linear classifier: influence is activation × the true class's weight."""
    with torch.no_grad():
        activation = fgsm.network(torch.from_numpy(images))[1].numpy()
    values = activation * fgsm.example.model.classifier.weight.detach().numpy()[labels]
    ranked = [
        row[np.argsort(-profile.influence[label], kind="stable")]
        for row, label in zip(values, labels, strict=True)
    ]
    return np.stack(ranked)


def test_groups_agree_with_the_closed_form(fgsm: Fgsm, profile: InfluenceProfile) -> None:
    rows = fgsm.turned
    defended = np.clip(fgsm.attacked[rows] + np.float32(0.02), 0, 1)
    labels = fgsm.truth[rows]
    inputs = (fgsm.clean[rows], fgsm.attacked[rows], defended)
    found = influence_groups("FGSM", fgsm.network, TAP, profile, *inputs, labels)
    assert (found.attack, found.top_k) == ("FGSM", 12)
    measured = (
        (found.benign, found.benign_by_rank),
        (found.attacked, found.attacked_by_rank),
        (found.defended, found.defended_by_rank),
    )
    for images, (groups, ranks) in zip(inputs, measured, strict=True):
        expected = by_hand(fgsm, images, labels, profile)
        assert np.allclose(ranks, expected.mean(0), atol=1e-4)
        for group, part in zip(groups, np.split(expected, [12, 116], axis=1), strict=True):
            per_image = part.mean(1)
            half = 1.96 * per_image.std(ddof=1) / np.sqrt(len(rows))
            assert group.value == pytest.approx(per_image.mean(), abs=1e-4)
            assert group.high - group.value == pytest.approx(half, abs=1e-4)
            assert group.n == len(rows)
    assert found.attacked[0].value < found.benign[0].value, "FGSM takes influence from the front neurons"


def test_only_the_first_two_hundred_count(fgsm: Fgsm, profile: InfluenceProfile) -> None:
    images, labels = np.tile(fgsm.clean, (6, 1, 1, 1)), np.tile(fgsm.truth, 6)
    found = influence_groups("none", fgsm.network, TAP, profile, images, images, images, labels)
    assert found.benign[0].n == 200
    assert found.benign == found.attacked == found.defended
    assert not images.flags.writeable or np.array_equal(images[:40], fgsm.clean)


def test_means_by_hand() -> None:
    front, middle, tail = group_means(np.array([[4, 1, 0, -1], [2, 1, 0, -1]], np.float32), 1)
    assert (front.value, middle.value, tail.value) == (3, 0.5, -1)
    # Two images at 4 and 2: standard deviation √2, of the mean 1.
    assert front.high - front.value == pytest.approx(1.96)
    assert tail.low == tail.high == -1
    _, middle, _ = group_means(np.ones((1, 4), np.float32), 2)
    assert (middle.value, middle.method) == (0, "no neuron in this group")


def test_no_images_or_not_the_same_are_refused(fgsm: Fgsm, profile: InfluenceProfile) -> None:
    clean, labels = fgsm.clean, fgsm.truth
    for several, truth in ((clean[:0], labels[:0]), (clean[:3], labels)):
        with pytest.raises(InputError, match="at least one"):
            influence_groups("x", fgsm.network, TAP, profile, several, several, several, truth)
