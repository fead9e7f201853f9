"""Attacks the network on held-back benign images and counts what the finished file makes of it.

Nothing is tuned by it: the file stands already when the first image is attacked. It is a first impression on
few images, of one attack that knows the network and not the defence; `nip evaluate` measures the rest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from nip_export.fit.bench import Bench
from nip_export.fit.stages import SELF_TEST
from nip_export.network import evaluation_mode
from nip_export.support.progress import Advance
from nip_export.write.report import Attempt
from nip_runtime.file.rates import Rate
from nip_runtime.session import DefendedSession

EPSILONS = (2 / 255, 4 / 255, 8 / 255)
"""As shares of the input's range."""
IMAGES = 64
STEPS = 20
STEP_SHARE = 0.125
"""Of ε: 20 steps travel 2.5 ε, so that every corner can be reached."""
MOST_AT_ONCE = 16


def self_test(bench: Bench, path: Path) -> tuple[Attempt, ...]:
    """Attack up to 64 calibration images at three ε and ask the file about them.

    Args:
        bench: the network and its images.
        path: the finished file.
    """
    right = np.flatnonzero(bench.calibration_pass.logits.argmax(1) == bench.calibration.labels)
    rows = np.sort(np.random.default_rng(bench.config.seed).permutation(right)[:IMAGES])
    inputs, labels = bench.calibration.feed[rows], bench.calibration.labels[rows]
    low, high = bench.bounds
    stage = bench.progress(SELF_TEST, len(EPSILONS) * len(rows))
    found = []
    with DefendedSession(path, device="cpu") as session:
        for share in EPSILONS:
            eps = share * (high - low)
            answers = session.predict(descend(bench, inputs, labels, eps, advance=stage))
            fooled = answers.raw_labels != labels
            repaired = answers.labels == labels
            found.append(
                Attempt(
                    eps=eps,
                    fooled=Rate(int(fooled.sum()), len(labels)),
                    detected=_among(answers.flagged, fooled),
                    repaired=_among(repaired, fooled),
                )
            )
    return tuple(found)


def descend(
    bench: Bench, inputs: NDArray[np.float32], labels: NDArray[np.int64], eps: float, *, advance: Advance
) -> NDArray[np.float32]:
    """Inputs (N, *shape) moved within ε and the bounds so that the network's loss on (N,) labels grows."""
    random = torch.Generator().manual_seed(bench.config.seed)
    size = min(bench.config.batch_size, MOST_AT_ONCE)
    attacked = np.empty_like(inputs)
    with evaluation_mode(bench.network), torch.enable_grad():
        for first in range(0, len(inputs), size):
            clean = torch.from_numpy(np.ascontiguousarray(inputs[first : first + size])).to(bench.device)
            truth = torch.from_numpy(labels[first : first + size]).to(bench.device)
            noise = 2 * torch.rand(clean.shape, generator=random).to(bench.device) - 1
            moved = (clean + eps * noise).clamp(*bench.bounds)
            for _ in range(STEPS):
                variable = moved.detach().requires_grad_(True)
                loss = functional.cross_entropy(bench.network(variable)[0], truth, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, variable)
                stepped = moved + STEP_SHARE * eps * gradient.sign()
                moved = torch.maximum(torch.minimum(stepped, clean + eps), clean - eps).clamp(*bench.bounds)
            attacked[first : first + size] = moved.detach().cpu().numpy()
            advance(len(clean))
    return attacked


def _among(found: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Rate | None:
    """The share of some rows; None if there are none."""
    return Rate(int(found[rows].sum()), int(rows.sum())) if rows.any() else None
