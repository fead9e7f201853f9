"""The test networks, trained for seconds on the embedded images brought to each one's input shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack
from foolbox.models.pytorch import PyTorchModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nip_export import ExportConfig
from nip_export.data import ImageSet
from nip_export.demo.example import Example, load_example
from tests.goldens.generate import GoldenNet
from tests.models import CLASSES, SmallResNet, SmallVgg, case, seeded

Images = NDArray[np.uint8] | NDArray[np.float32]
Labels = NDArray[np.int64]

BATCH = 32
BUDGET = 0.05
"""Of benign images flagged: more than the default, so that flagged rows are not rare among those tested."""
PROFILE, CALIBRATION = 500, 400


@cache
def example() -> Example:
    """The embedded images; training uses those of its profile split, exports those of the others."""
    return load_example()


def embedded(split: str, count: int | None = None) -> tuple[NDArray[np.uint8], Labels]:
    """The first images (N, 28, 28) and labels of a split."""
    data: ImageSet = getattr(example(), split)
    return data.images[:count].astype(np.uint8), data.labels[:count]


def gray(images: NDArray[np.uint8]) -> Tensor:
    """(N, 1, 28, 28) float32 in [0, 1]."""
    return torch.from_numpy(images.astype(np.float32) / np.float32(255))[:, None]


def as_color(images: NDArray[np.uint8]) -> Images:
    """uint8 (N, 24, 24, 3), channels last: the middle, tinted so that the channels differ."""
    middle = images[:, 2:26, 2:26, None].astype(np.float32) * np.array([1, 0.8, 0.6], np.float32)
    return middle.astype(np.uint8)


def as_thumbnail(images: NDArray[np.uint8]) -> Images:
    """float32 (N, 3, 16, 16) in [0, 1]."""
    return F.pad(F.avg_pool2d(gray(images), 2), (1, 1, 1, 1)).repeat(1, 3, 1, 1).numpy()


def as_framed(images: NDArray[np.uint8]) -> Images:
    """uint8 (N, 32, 32, 3)."""
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None].repeat(3, axis=3)


def as_waveform(images: NDArray[np.uint8]) -> Images:
    """float32 (N, 1, 1024) in [-1, 1]: the rows of the image one after the other."""
    return (F.pad(gray(images), (2, 2, 2, 2)).flatten(2) * 2 - 1).numpy()


def as_vector(images: NDArray[np.uint8]) -> Images:
    """float32 (N, 40) in [0, 1]: means of boxes."""
    return F.avg_pool2d(F.pad(gray(images), (2, 2, 1, 1)), (6, 4)).flatten(1).numpy()


def as_given(images: NDArray[np.uint8]) -> Images:
    """uint8 (N, 28, 28)."""
    return images


@dataclass(frozen=True)
class Net:
    """A network, how images become its inputs, and how long it trains.

    Attributes:
        name: of the case.
        factory: builds it.
        prepare: embedded images to what `export_defended` is given.
        steps: of training.
        mean: what the export subtracts, and the training does.
        std: likewise.
        bounds: of the inputs.
    """

    name: str
    factory: Callable[[], nn.Module]
    prepare: Callable[[NDArray[np.uint8]], Images]
    steps: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bounds: tuple[float, float] = (0.0, 1.0)

    def config(self, **changes: Any) -> ExportConfig:
        """Export settings that are quick rather than strong."""
        settings: dict[str, Any] = {
            "mean": self.mean,
            "std": self.std,
            "bounds": self.bounds,
            "eps": 8 / 255 * (self.bounds[1] - self.bounds[0]),
            "benign_budget": BUDGET,
            "ascent_steps": 8,
            "seed": 3,
        }
        return ExportConfig(**{**settings, **changes})

    def inputs(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embedded images as the graph takes them: float32 (N, *shape) within the bounds."""
        prepared = self.prepare(images)
        if prepared.dtype == np.uint8:
            last = prepared if prepared.ndim == 4 else prepared[..., None]
            prepared = last.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        return np.ascontiguousarray(prepared, np.float32)

    def inputs_of(self, split: str, count: int | None = None) -> NDArray[np.float32]:
        """The same for a split's first images."""
        return self.inputs(embedded(split, count)[0])

    def split(self, name: str, count: int | None = None) -> tuple[Images, Labels]:
        """Images and labels of a split, as `export_defended` takes them."""
        images, labels = embedded(name, count)
        return self.prepare(images), labels

    def benign(self) -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
        """Profile and calibration images, neither seen in training."""
        images, labels = self.split("calibration", PROFILE + CALIBRATION)
        return (images[:PROFILE], labels[:PROFILE]), (images[PROFILE:], labels[PROFILE:])

    def train(self) -> nn.Module:
        """The network, trained from one seed, in eval mode."""
        images, numbers = embedded("profile")
        inputs, labels = torch.from_numpy(self.inputs(images)), torch.from_numpy(numbers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = seeded(self.factory).train()
            normalised = Normalised(model, self.mean, self.std)
            optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimiser, 3e-3, total_steps=self.steps, pct_start=0.2
            )
            for _ in range(self.steps):
                rows = torch.randint(len(inputs), (BATCH,))
                loss = F.cross_entropy(normalised(inputs[rows]), labels[rows])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
                optimiser.step()
                schedule.step()
        for parameter in model.parameters():
            parameter.grad = None
        return model.eval()


class Normalised(nn.Module):
    """The network with its normalisation in front, written apart from the exporter's."""

    def __init__(
        self, model: nn.Module, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
    ) -> None:
        super().__init__()
        self.model = model
        self.mean = torch.tensor(mean or (0.0,))
        self.std = torch.tensor(std or (1.0,))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *(1,) * (x.ndim - 2))
        logits: Tensor = self.model((x - self.mean.reshape(shape)) / self.std.reshape(shape))
        return logits


def pgd(
    net: Net, model: nn.Module, inputs: NDArray[np.float32], labels: Labels, *, eps: float, steps: int = 20
) -> NDArray[np.float32]:
    """Inputs moved by at most `eps`, as a share of the value range, until the undefended net fails."""
    low, high = net.bounds
    victim = PyTorchModel(
        Normalised(model, net.mean, net.std).eval(), bounds=net.bounds, device=torch.device("cpu")
    )
    attack = LinfProjectedGradientDescentAttack(steps=steps, rel_stepsize=0.1, random_start=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        _, moved, _ = attack(
            victim, torch.from_numpy(inputs), torch.from_numpy(labels), epsilons=eps * (high - low)
        )
    for parameter in model.parameters():
        parameter.grad = None
    attacked: NDArray[np.float32] = moved.detach().clamp(low, high).numpy()
    return attacked


NETS: tuple[Net, ...] = (
    Net("vgg", lambda: SmallVgg(widths=(8, 16, 24)), as_given, 150, mean=(0.286,), std=(0.353,)),
    Net("resnet", SmallResNet, as_color, 110, mean=(0.3, 0.25, 0.2), std=(0.35, 0.3, 0.25)),
    Net("preact", lambda: case("preact").factory(), as_thumbnail, 400),
    Net("mobilenet", lambda: case("mobilenet").factory(), as_framed, 180, mean=(0.25,), std=(0.3,)),
    Net("vit", lambda: case("vit").factory(), as_thumbnail, 250),
    Net("audio", lambda: case("audio").factory(), as_waveform, 250, bounds=(-1.0, 1.0)),
    Net("mlp", lambda: case("mlp").factory(), as_vector, 600),
)

TINY = Net("tiny", GoldenNet, as_given, 300, mean=(0.286,), std=(0.353,))
"""The network of the golden files: quick even with the command line's settings."""


def net(name: str) -> Net:
    """The network called `name`."""
    return next(candidate for candidate in (*NETS, TINY) if candidate.name == name)


def fitted_resnet18() -> nn.Module:
    """A network of ResNet-18's widths and depth (45 MB), of which the last layer alone is fitted."""
    model = seeded(lambda: SmallResNet(widths=(64, 128, 256, 512), depth=2))
    images, labels = embedded("profile", 600)
    inputs = torch.from_numpy(net("resnet").inputs(images))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            module.momentum = None  # a plain mean over batches
    head = model.get_submodule("fc")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        model.train()(inputs[:200])
        features: list[Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, values: features.append(values[0]))
        model.eval()
        for start in range(0, len(inputs), 100):
            model(inputs[start : start + 100])
        hook.remove()
        flat = torch.cat(features).double()
        centre = flat.mean(0)
        wanted = F.one_hot(torch.from_numpy(labels), CLASSES).double() - 1 / CLASSES
        gram = (flat - centre).T @ (flat - centre)
        ridge = 1e-2 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        weight = torch.linalg.solve(gram + ridge, (flat - centre).T @ wanted).T * 10
        head.weight.copy_(weight)
        head.bias.copy_(-weight @ centre)
    return model
