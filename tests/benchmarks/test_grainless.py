"""Attacks without grain, and the table of what a file makes of them."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.robustness.grainless import Alike, lines
from nip_evaluate.attacks.gradient import bim
from nip_export.network.grain import grain


def test_alike_changes_every_channel_by_the_same_and_still_follows_the_gradient() -> None:
    torch.manual_seed(0)
    victim = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 4)).eval().requires_grad_(False)
    images = 0.25 + 0.5 * torch.rand(6, 3, 12, 12)
    labels = victim(images).argmax(1)
    torch.testing.assert_close(Alike(victim)(images), victim(images))

    def attacked(network: nn.Module) -> torch.Tensor:
        return bim(0.1)(network, images, labels, 0, lambda done: None)

    moved = attacked(Alike(victim).eval()) - images
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved))
    assert float(moved.abs().max()) > 0.09
    loss = nn.CrossEntropyLoss()
    assert loss(victim(images + moved), labels) > loss(victim(images), labels)
    before = grain(images.numpy())
    assert abs(grain((images + moved).numpy()) - before).max() < 1e-4
    assert grain(attacked(victim).numpy()).mean() > before.mean() + 0.02, "where channels change apart it has"


def test_the_table_shows_rates_with_intervals_and_grain_in_levels() -> None:
    row = {
        "epsilon": 2,
        "how": "alike",
        "grain": 0.004,
        "fooled": {"count": 90, "n": 100},
        "repaired": {"count": 45, "n": 90},
        "detected": {"count": 0, "n": 90},
    }
    made = "\n".join(lines({"net": [row]}))
    shown = "90.0 (82.6–94.5), n = 100 | 0.0 (0.0–4.1), n = 90 | 50.0 (39.9–60.1), n = 90 |"
    assert f"| net | 2/255 | the same in every channel | 1.0 | {shown}" in made
