"""Where neurons' influence goes: before an attack, after it, and with the inverse perturbation added."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from nip_evaluate.terms.results import Estimate, InfluenceGroups
from nip_evaluate.terms.threats import Images, Labels
from nip_export.fit.profiles import InfluenceProfile, influences
from nip_export.network import Tap, evaluation_mode
from nip_export.network.run import TapCells
from nip_export.network.tapped import TappedNetwork
from nip_runtime.errors import InputError

MOST_IMAGES = 200
BATCH = 50
METHOD = "mean over images, normal approximation"

Floats = NDArray[np.float32]
Groups = tuple[Estimate, Estimate, Estimate]


def influence_groups(
    case_name: str,
    network: TappedNetwork,
    tap: Tap,
    profile: InfluenceProfile,
    clean: Images,
    attacked: Images,
    defended: Images,
    labels: Labels,
) -> InfluenceGroups:
    """Measure the shift of influence over the images that an attack turned, at most the first 200.

    Influence is activation × derivative of the true class's logit (`nip_export.fit.profiles.influences`).
    Every image's neurons are put in the order of its class's profile before anything is averaged.

    Args:
        case_name: the attack.
        network: with `tap` among its taps, normalisation in front; on the CPU.
        tap: the layer the profile was made of.
        profile: benign mean influence per class, which orders the neurons.
        clean: (n, *shape) float32 in [0, 1], the turned images before the attack.
        attacked: (n, *shape) after it.
        defended: (n, *shape) as the second pass sees them.
        labels: (n,) int64 true classes.

    Raises:
        InputError: no image, or arrays of different lengths.
    """
    if not 0 < len(labels) == len(clean) == len(attacked) == len(defended):
        raise InputError.mismatch(
            expected="the same images, at least one, benign, attacked and defended, and their classes",
            got=f"{len(clean)}, {len(attacked)}, {len(defended)} and {len(labels)}",
            fix="pass the images that the attack turned, and skip attacks that turned none",
        )
    order = np.argsort(-profile.influence, axis=1, kind="stable")[labels[:MOST_IMAGES]]
    before, after, restored = (
        np.take_along_axis(_measure(network, tap, images[:MOST_IMAGES], labels[:MOST_IMAGES]), order, axis=1)
        for images in (clean, attacked, defended)
    )
    return InfluenceGroups(
        attack=case_name,
        top_k=profile.top_k,
        benign=group_means(before, profile.top_k),
        attacked=group_means(after, profile.top_k),
        defended=group_means(restored, profile.top_k),
        benign_by_rank=_by_rank(before),
        attacked_by_rank=_by_rank(after),
        defended_by_rank=_by_rank(restored),
    )


def group_means(ranked: Floats, top_k: int) -> Groups:
    """Mean influence per neuron of front, middle and tail.

    Args:
        ranked: (n, D) influences, neurons by falling influence in the profile of the image's class.
        top_k: size of front and tail, at most D / 2; nothing is left for the middle at D / 2.
    """
    front, middle, tail = np.split(ranked.astype(np.float64), [top_k, ranked.shape[1] - top_k], axis=1)
    return _mean(front), _mean(middle), _mean(tail)


def _measure(network: TappedNetwork, tap: Tap, images: Images, labels: Labels) -> Floats:
    parts = []
    with evaluation_mode(network), torch.enable_grad():
        for start in range(0, len(images), BATCH):
            # A copy: the gradient is asked for with respect to it, and the caller's array must not care.
            batch = torch.from_numpy(images[start : start + BATCH].copy())
            own = torch.from_numpy(labels[start : start + BATCH].copy())
            parts.append(influences(network, batch, own, [TapCells(tap, 1)])[tap.name].numpy())
    return np.concatenate(parts)


def _by_rank(ranked: Floats) -> tuple[float, ...]:
    return tuple(ranked.astype(np.float64).mean(axis=0).tolist())


def _mean(values: NDArray[np.float64]) -> Estimate:
    n = len(values)
    if not values.shape[1]:
        return Estimate(0.0, 0.0, 0.0, n, "no neuron in this group")
    per_image = values.mean(axis=1)
    value = float(per_image.mean())
    if n == 1:
        return Estimate(value, value, value, n, "one image, no interval")
    half = 1.96 * float(per_image.std(ddof=1)) / math.sqrt(n)
    return Estimate(value, value - half, value + half, n, METHOD)
