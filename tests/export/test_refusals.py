"""Wrong models, images and settings: one clear error each, and no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nip_export import ExportConfig, export_defended
from nip_export.fit.stages import CALIBRATION, INFLUENCE
from nip_runtime.errors import ExportError, InputError, NipError
from tests.export.made import Made
from tests.export.networks import net
from tests.models import case


class Request:
    """An export that would succeed, to be spoilt in one point."""

    def __init__(self, made: Made) -> None:
        self.model: nn.Module = made.model
        self.images: Any
        self.labels: Any
        images, labels = made.net.split("calibration", 500)
        self.images, self.labels = images.copy(), labels.copy()
        self.calibration: Any = None
        self.config: dict[str, Any] = {"ascent_steps": 1}

    def run(self, made: Made, path: Path) -> None:
        export_defended(
            self.model,
            self.images,
            self.labels,
            path,
            calibration=self.calibration,
            config=made.net.config(**self.config),
        )


def spoil(**fields: Callable[[Request], Any]) -> Callable[[Request], None]:
    def change(request: Request) -> None:
        for name, value in fields.items():
            setattr(request, name, value(request))

    return change


def with_nan(request: Request) -> Any:
    request.images[3, 5] = np.nan
    return request.images


class Constant(nn.Module):
    """A model that answers class 1 whatever it sees, as some do when their weights were forgotten."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return torch.cat([y[:, :1], y[:, 1:2] + 1000, y[:, 2:]], 1)


def mostly_class_1(labels: Any, values: Any) -> Any:
    """Of 500 images some 450 of class 1."""
    return np.concatenate([values[np.flatnonzero(labels == 1).repeat(10)], values[labels != 1][:50]])


def differing(images: Any) -> Any:
    """Images of which no two are the same."""
    noise = np.random.default_rng(0).uniform(0, 0.01, images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


class Loud(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AttributeError("a mistake of the user's own")


CASES: dict[str, tuple[type[NipError], str, Callable[[Request], None]]] = {
    "labels beyond the logits": (
        ExportError,
        "the model has 10 logits, but profile images are of class 10; ",
        spoil(labels=lambda r: r.labels + 1),
    ),
    "labels beyond the logits, named": (
        ExportError,
        r"profile images are of zebra \(10\); expected .* --classes FILE",
        spoil(
            labels=lambda r: r.labels + 1,
            config=lambda r: {"class_names": (*"abcdefghij", "zebra")},
        ),
    ),
    "calibration labels beyond the logits": (
        ExportError,
        "calibration images are of class 10, class 11; ",
        spoil(calibration=lambda r: (1 - r.images, r.labels + 2)),
    ),
    "negative labels": (InputError, "expected labels from 0, got -1", spoil(labels=lambda r: r.labels - 1)),
    "float labels": (
        InputError,
        "expected whole numbers as labels, got float64",
        spoil(labels=lambda r: r.labels.astype(float)),
    ),
    "too few labels": (InputError, "one per image", spoil(labels=lambda r: r.labels[:-1])),
    "labels as one-hot rows": (
        InputError,
        r"expected int64 labels of shape \(500,\)",
        spoil(labels=lambda r: np.eye(10, dtype=int)[r.labels]),
    ),
    "no images": (
        InputError,
        "0 labels",
        spoil(images=lambda r: r.images[:0], labels=lambda r: r.labels[:0]),
    ),
    "a path": (InputError, "expected images as an array, a tensor, .* got str", spoil(images=lambda r: "x")),
    "double precision": (
        InputError,
        "expected images as uint8 .* got float64",
        spoil(images=lambda r: r.images.astype(float)),
    ),
    "NaN": (
        InputError,
        r"expected float32 values in \[0, 1\], got NaN or Inf in row 3; drop",
        spoil(images=with_nan),
    ),
    "values out of bounds": (
        InputError,
        r"expected float32 values in \[0, 1\], got 0 to 255",
        spoil(images=lambda r: np.clip(r.images * 300, 0, 255)),
    ),
    "wrong number of features": (
        ExportError,
        "the model",
        spoil(images=lambda r: np.ascontiguousarray(r.images[:, :30])),
    ),
    "calibration of another shape": (
        InputError,
        r"expected calibration images of the same shape \(40,\), got \(30,\)",
        spoil(calibration=lambda r: (np.ascontiguousarray(r.images[:, :30]), r.labels)),
    ),
    "too few class names": (
        InputError,
        "expected labels below 3, the number of class names",
        spoil(config=lambda r: {"class_names": ("a", "b", "c")}),
    ),
    "too many class names": (
        ExportError,
        "class_names: expected 10 names, one per logit, got 11 "
        r"\(a, b, c, d, e …\); name the model's classes in the order of its logits .*--classes FILE",
        spoil(config=lambda r: {"class_names": tuple("abcdefghijk")}),
    ),
    "an untrained model": (
        ExportError,
        "no better than guessing among 10 classes; load its weights",
        spoil(model=lambda r: case("mlp").build(seed=9)),
    ),
    "labels in another order": (
        ExportError,
        r"no better than guessing .* and label numbers; in another order of the classes it would be [789]\d\."
        r"\d% .* if class 0 is logit 5, class 1 is logit 6, class 2 is logit 7 and 7 others move",
        spoil(labels=lambda r: (r.labels + 5) % 10),
    ),
    "two classes for each other, named": (
        ExportError,
        r"if cat \(0\) is logit 1, dog \(1\) is logit 0; expected class numbers in the order of the logits",
        spoil(
            labels=lambda r: np.where(r.labels < 2, 1 - r.labels, r.labels),
            config=lambda r: {"class_names": ("cat", "dog", *"abcdefgh")},
        ),
    ),
    "the same images for calibration": (
        InputError,
        "calibration images that are not among the profile images, got 500 of 500 that are; give others",
        spoil(calibration=lambda r: (r.images.copy(), r.labels)),
    ),
    "some of them for calibration": (
        InputError,
        "got 6 of 400 that are",
        spoil(
            calibration=lambda r: (r.images[100:], r.labels[100:]),
            images=lambda r: r.images[:106],
            labels=lambda r: r.labels[:106],
        ),
    ),
    "every image five times": (
        InputError,
        r"got 19\d of 200 that are, for the images hold duplicates; leave out",
        spoil(images=lambda r: np.tile(r.images[:100], (5, 1)), labels=lambda r: np.tile(r.labels[:100], 5)),
    ),
    "one answer to everything": (
        ExportError,
        "no better than guessing among 10 classes; load its weights",
        spoil(model=lambda r: Constant(r.model)),
    ),
    "one answer to everything, which is mostly right": (
        ExportError,
        "got one that of 10 classes gets only class 1 right; load its weights",
        spoil(
            images=lambda r: differing(mostly_class_1(r.labels, r.images)),
            labels=lambda r: mostly_class_1(r.labels, r.labels),
            model=lambda r: Constant(r.model),
        ),
    ),
    "one class alone": (
        ExportError,
        "expected correctly classified profile images of at least 2 classes, got class 1 alone",
        spoil(
            images=lambda r: differing(r.images[r.labels == 1].repeat(9, 0)),
            labels=lambda r: r.labels[r.labels == 1].repeat(9, 0),
        ),
    ),
    "a dozen images": (
        ExportError,
        "expected at least 50 benign images for profiles and [0-9]+ for calibration, .* got 36 and 24",
        spoil(images=lambda r: r.images[:60], labels=lambda r: r.labels[:60]),
    ),
    "a budget below one image": (
        ExportError,
        r"2302 for calibration, which benign_budget 0\.10% takes, .* or a larger budget",
        spoil(config=lambda r: {"benign_budget": 0.001}),
    ),
    "an unknown tap": (ExportError, "no.such.layer", spoil(config=lambda r: {"taps": ["no.such.layer"]})),
    "a k beyond the features": (
        ExportError,
        "top_k: expected at most 32",
        spoil(config=lambda r: {"top_k": 33}),
    ),
    "a model that fails": (ExportError, "a mistake of the user's own", spoil(model=lambda r: Loud())),
}


@pytest.mark.parametrize("name", CASES)
def test_one_clear_error(mlp: Made, tmp_path: Path, name: str) -> None:
    kind, message, change = CASES[name]
    request = Request(mlp)
    change(request)
    with pytest.raises(kind, match=message) as caught:
        request.run(mlp, tmp_path / "m.onnx")
    assert "\n" not in str(caught.value).strip()
    assert len(str(caught.value)) < 500
    assert list(tmp_path.iterdir()) == []


def test_the_request_succeeds_unspoilt(mlp: Made, tmp_path: Path) -> None:
    Request(mlp).run(mlp, tmp_path / "m.onnx")


def test_a_model_that_guesses(mlp: Made, tmp_path: Path) -> None:
    """Right often enough for a profile, but by chance."""
    images, labels = mlp.net.split("calibration", 1500)
    drawn = np.random.default_rng(0).permutation(labels)
    with pytest.raises(ExportError, match="no better than guessing among 10 classes"):
        export_defended(
            mlp.model,
            images[:1000],
            drawn[:1000],
            tmp_path / "m.onnx",
            calibration=(images[1000:], drawn[1000:]),
            config=mlp.net.config(ascent_steps=1),
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("channels", [2, 3])
def test_images_of_another_number_of_channels(tmp_path: Path, channels: int) -> None:
    tiny = net("tiny")
    images, labels = tiny.split("calibration", 300)
    wrong = np.repeat(images[..., None], channels, axis=3)
    with pytest.raises(ExportError, match=r"channel|the model"):
        export_defended(tiny.factory().eval(), wrong, labels, tmp_path / "m.onnx", config=ExportConfig())


def test_mean_of_another_number_of_channels(tmp_path: Path) -> None:
    tiny = net("tiny")
    images, labels = tiny.split("calibration", 300)
    with pytest.raises(ExportError, match="expected 1 or 1 values in mean"):
        export_defended(
            tiny.factory().eval(),
            images,
            labels,
            tmp_path / "m.onnx",
            config=ExportConfig(mean=(0.1, 0.2, 0.3), std=(1, 1, 1)),
        )


def test_too_few_right_ones_are_told_before_the_first_gradient(mlp: Made, tmp_path: Path) -> None:
    """There are enough calibration images for the budget, but most of them have another label."""
    stages: list[str] = []

    def progress(stage: str, total: int) -> Callable[[int], None]:
        stages.append(stage)
        return lambda done: None

    images, labels = mlp.net.split("calibration", 500)
    wrong = labels[200:].copy()
    wrong[:220] = (wrong[:220] + 1) % 10
    path = tmp_path / "defended.onnx"
    with pytest.raises(ExportError, match=r"benign_budget: \d+ correctly classified .* at most 2\.00%"):
        export_defended(
            mlp.model,
            images[:200],
            labels[:200],
            path,
            calibration=(images[200:], wrong),
            config=mlp.net.config(ascent_steps=1, benign_budget=0.02),
            progress=progress,
        )
    assert CALIBRATION in stages and INFLUENCE not in stages
    assert not path.exists()
