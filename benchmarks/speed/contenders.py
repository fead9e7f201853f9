"""What a user would pick instead: the same defence in PyTorch, other defences, all on the same machine.

Each answers a batch with (N, C) scores whose largest is its answer. Where a choice had to be made it was made
in the contender's favour: parameters take no gradients, passes that can be shared are shared, inference mode
wherever no gradient is needed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.speed.files import SpeedFiles
from benchmarks.speed.networks import Images
from nip_export.config import PUBLISHED_SCALE
from nip_export.network import pool_activation
from nip_export.network.tapped import TappedNetwork
from nip_export.verify import DefendedTwin
from nip_runtime.file.manifest import Policy

Scores = NDArray[np.float32]
Answer = Callable[[Images], Scores]
"""Maps images (N, C, H, W) float32 in [0, 1] to scores (N, classes)."""

ANTI_STEPS: Final = 2
ANTI_STEP_SIZE: Final = 0.15
SMOOTHING_SAMPLES: Final = 16
SMOOTHING_SIGMA: Final = 0.25
JPEG_QUALITY: Final = 50
MEDIAN_WINDOW: Final = 3


class Kind(StrEnum):
    """Which contender."""

    EAGER_TWIN = "eager-twin"
    COMPILED_TWIN = "compiled-twin"
    ANTI_ADVERSARY = "anti-adversary"
    ONE_IMAGE = "one-image-gradient"
    JPEG = "jpeg"
    MEDIAN = "median"
    SMOOTHING = "smoothing"


@dataclass(frozen=True)
class About:
    """How tables and, in short, plots name a contender, and where it comes from."""

    title: str
    short: str
    source: str


ABOUT: Final = {
    Kind.EAGER_TWIN: About(
        "eager PyTorch, the same defence", "eager PyTorch", "nip_export.verify.DefendedTwin"
    ),
    Kind.COMPILED_TWIN: About(
        "torch.compile, the same defence", "torch.compile", "the twin, exported and compiled by inductor"
    ),
    Kind.ANTI_ADVERSARY: About(
        f"Anti-Adversary layer, k = {ANTI_STEPS}, PyTorch",
        "Anti-Adversary",
        "Alfarra et al., AAAI 2022, arXiv 2103.14347",
    ),
    Kind.ONE_IMAGE: About(
        "published one-image NIP gradient, PyTorch", "one-image NIP", "Chen et al., NIP, IEEE TDSC 2024"
    ),
    Kind.JPEG: About(
        f"ART JPEG quality {JPEG_QUALITY} + onnxruntime", "ART JPEG", "Das et al. 2017; ART JpegCompression"
    ),
    Kind.MEDIAN: About(
        f"ART median {MEDIAN_WINDOW}×{MEDIAN_WINDOW} + onnxruntime",
        "ART median",
        "Xu et al., NDSS 2018; ART SpatialSmoothing",
    ),
    Kind.SMOOTHING: About(
        f"randomized smoothing, {SMOOTHING_SAMPLES} samples, onnxruntime",
        "smoothing",
        "Cohen et al., ICML 2019",
    ),
}


def can_compile() -> bool:
    """Whether ``torch.compile`` finds the C++ compiler that it needs on a CPU."""
    return any(shutil.which(compiler) for compiler in (os.environ.get("CXX"), "g++", "clang++") if compiler)


def build(kind: Kind, files: SpeedFiles, policy: Policy, session: Any) -> Answer:
    """A contender ready to answer.

    Args:
        kind: which.
        files: the network, its defence and its weights.
        policy: of the defence that the twins compute; others do not use it.
        session: the plain backbone in onnxruntime, for those that stand in front of it.
    """
    match kind:
        case Kind.EAGER_TWIN:
            return eager(twin(files, policy))
        case Kind.COMPILED_TWIN:
            return compiled(twin(files, policy), files)
        case Kind.ANTI_ADVERSARY:
            return anti_adversary(lean_network(files, ()))
        case Kind.ONE_IMAGE:
            return one_image_gradient(files)
        case Kind.JPEG:
            from nip_evaluate.baselines.transforms import jpeg  # only these two need ART

            return behind(jpeg(JPEG_QUALITY).apply, session)
        case Kind.MEDIAN:
            from nip_evaluate.baselines.transforms import median

            return behind(median(MEDIAN_WINDOW).apply, session)
        case Kind.SMOOTHING:
            return smoothing(session, seed=0)


def lean_network(files: SpeedFiles, taps: tuple[str, ...]) -> TappedNetwork:
    """The backbone with no more taps than needed: each costs a copy of its activation."""
    full = files.tapped
    mean, std = (value if isinstance(value, Tensor) else None for value in (full.mean, full.std))
    return TappedNetwork(full.model, taps, mean=mean, std=std).eval().requires_grad_(False)


def twin(files: SpeedFiles, policy: Policy) -> DefendedTwin:
    """The whole defence in PyTorch; its second pass runs on every row."""
    spec = files.spec(policy)
    taps = dict.fromkeys((*(readout.tap for readout in spec.readouts), spec.typicality.tap))
    return DefendedTwin(lean_network(files, tuple(taps)), spec).eval()


def eager(network: DefendedTwin) -> Answer:
    """The twin as it is."""

    def answer(images: Images) -> Scores:
        with torch.inference_mode():
            return _array(network(torch.from_numpy(images)).logits)

    return answer


def compiled(network: DefendedTwin, files: SpeedFiles) -> Answer:
    """The twin through ``torch.compile``; the first call at each batch size compiles, for half a minute.

    It is exported first, so that inductor sees one graph without the hooks that read the taps.
    """
    example = torch.from_numpy(files.pool.batch(2, 1))
    batch = torch.export.Dim("N", min=1)
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},), strict=False)
    compilation = torch.compile(program.module(), dynamic=False)

    def answer(images: Images) -> Scores:
        with torch.no_grad():  # compilation in inference mode is refused for some operators
            logits: Tensor = compilation(torch.from_numpy(images))[0]
        return _array(logits)

    return answer


def anti_adversary(network: nn.Module) -> Answer:
    """Moves each input away from the decision boundary before it is classified.

    γ ← γ − α · sign ∇ L(f(x + γ), ŷ), k times from γ = 0, with the network's own prediction ŷ and
    cross-entropy L; the answer is f(x + γ). α = 0.15 and k = 2 as in the paper. The first pass serves ŷ and
    the first gradient alike: k passes forward and back, and one forward.

    Source: Alfarra, Pérez, Thabet, Bibi, Torr and Ghanem, "Combating Adversaries with Anti-Adversaries",
    AAAI 2022, arXiv 2103.14347, algorithm 1.
    """

    def answer(images: Images) -> Scores:
        inputs = torch.from_numpy(images)
        moved = torch.zeros_like(inputs)
        labels: Tensor | None = None
        with torch.enable_grad():
            for _ in range(ANTI_STEPS):
                moved.requires_grad_(True)
                logits = network(inputs + moved)[0]
                labels = logits.detach().argmax(1) if labels is None else labels
                loss = functional.cross_entropy(logits, labels, reduction="sum")
                gradient = torch.autograd.grad(loss, moved)[0]
                moved = moved.detach() - ANTI_STEP_SIZE * gradient.sign()
        with torch.inference_mode():
            return _array(network(inputs + moved)[0])

    return answer


def one_image_gradient(files: SpeedFiles) -> Answer:
    """The inverse perturbation as published: from the gradient of this very image, then added to it.

    The gradient of mean front minus mean tail activation of the predicted class, divided by its root mean
    square, times the largest published scale: one pass forward and back, and one forward.

    Source: Chen et al., "NIP: Neuron-level Inverse Perturbation Against Adversarial Attacks", IEEE TDSC 2024.
    """
    report = files.reports[Policy.GUARDED]
    tap = report.plan.tap(report.plan.features)
    profile = report.profiles[tap.name]
    front, tail = torch.from_numpy(profile.front), torch.from_numpy(profile.tail)
    network, bare = lean_network(files, (tap.name,)), lean_network(files, ())

    def answer(images: Images) -> Scores:
        inputs = torch.from_numpy(images).requires_grad_(True)
        with torch.enable_grad():
            logits, activation = network(inputs)
            labels = logits.detach().argmax(1)
            neurons = pool_activation(activation, kind=tap.kind)
            lift = neurons.gather(1, front[labels]).mean(1) - neurons.gather(1, tail[labels]).mean(1)
            gradient = torch.autograd.grad(lift.sum(), inputs)[0]
        with torch.inference_mode():
            size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
            return _array(bare((inputs + PUBLISHED_SCALE * gradient / size).clamp(0, 1))[0])

    return answer


def behind(apply: Callable[[Images], Images], session: Any) -> Answer:
    """The plain file behind a transformation of the images."""
    feed = session.get_inputs()[0].name

    def answer(images: Images) -> Scores:
        scores: Scores = session.run(None, {feed: apply(images)})[0]
        return scores

    return answer


def smoothing(session: Any, *, seed: int) -> Answer:
    """Votes of the plain file over noisy copies of each image.

    Source: Cohen, Rosenfeld and Kolter, "Certified Adversarial Robustness via Randomized Smoothing",
    ICML 2019 (the prediction, without its certificate, which takes thousands of samples).
    """
    feed, random = session.get_inputs()[0].name, np.random.default_rng(seed)

    def answer(images: Images) -> Scores:
        votes: Scores | None = None
        for image in range(len(images)):
            noise = random.standard_normal((SMOOTHING_SAMPLES, *images.shape[1:]), dtype=np.float32)
            noise *= np.float32(SMOOTHING_SIGMA)
            noise += images[image]
            logits = session.run(None, {feed: noise})[0]
            if votes is None:
                votes = np.zeros((len(images), logits.shape[1]), np.float32)
            np.add.at(votes[image], logits.argmax(1), 1)
        if votes is None:
            raise ValueError("expected at least one image, got none")
        return votes

    return answer


def _array(logits: Tensor) -> Scores:
    scores: Scores = logits.numpy()
    return scores
