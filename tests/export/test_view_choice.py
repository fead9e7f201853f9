"""Views chosen for networks that a mirror misleads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from nip_export import export_defended
from nip_export.pipeline import Prepared, prepare_defence
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import ViewStep
from tests.export.drawn import ConvNet, Drawn, arrows, digits, quick, trained


def accuracy(model: nn.Module, data: Drawn) -> float:
    with torch.no_grad():
        found = model(torch.from_numpy(data.inputs)).argmax(1).numpy()
    return float((found == data.labels).mean())


def prepared(model: nn.Module, profile: Drawn, calibration: Drawn) -> Prepared:
    return prepare_defence(
        model,
        profile.images,
        profile.labels,
        calibration=(calibration.images, calibration.labels),
        config=quick(),
    )


def mirrored(data: Drawn) -> Drawn:
    return Drawn(np.ascontiguousarray(data.images[:, :, ::-1]), data.labels)


def check_refused(model: nn.Module, profile: Drawn, calibration: Drawn, most: float) -> None:
    """Most mirrored images are lost to the network, so that no view with a mirror is taken."""
    assert accuracy(model, calibration) > 0.9
    assert accuracy(model, mirrored(calibration)) < most
    found = prepared(model, profile, calibration)
    assert ViewStep.MIRROR not in found.view
    assert found.view or found.bank.adds, "another view is taken instead"
    (mirror,) = (trial for trial in found.trials if trial.name == "mirror")
    taken = next(t for t in found.trials if (t.view, t.rho) == (found.view, found.bank.adds))
    assert mirror.kept.value < 0.7 <= taken.kept.value


def test_digits_refuse_a_mirror() -> None:
    data = digits()
    model = trained(data.take(slice(0, 700)), 10, steps=250)
    check_refused(model, data.take(slice(700, 1150)), data.take(slice(1150, None)), 0.6)


@pytest.fixture(scope="module")
def pointer() -> nn.Module:
    return trained(arrows(2000, seed=1), 2, steps=250)


def test_arrows_to_the_left_and_right_refuse_a_mirror(pointer: nn.Module) -> None:
    check_refused(pointer, arrows(500, seed=3), arrows(800, seed=4), 0.2)


def test_a_view_that_is_asked_for_is_taken_without_a_trial(pointer: nn.Module) -> None:
    profile = arrows(300, seed=3)
    found = prepare_defence(pointer, profile.images, profile.labels, config=quick(view="mirror+blur"))
    assert (found.view, found.trials) == ((ViewStep.MIRROR, ViewStep.BLUR), ())
    assert not found.bank.adds and not found.rho.adds


@pytest.mark.parametrize("step", ["mirror", "median", "shift+rho"])
def test_a_view_that_does_not_fit_the_input_is_refused_before_anything_is_written(
    step: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(2, size=400)
    images = np.clip(0.5 + 0.2 * (labels[:, None] - 0.5) + 0.05 * random.normal(size=(400, 6)), 0, 1)
    model = fitted_to_vectors(images.astype(np.float32), labels)
    first = step.split("+")[0]
    with pytest.raises(
        ExportError, match=rf"view: {first} needs inputs with .* got shape \(6,\); leave it out"
    ):
        export_defended(
            model, images.astype(np.float32), labels, tmp_path / "m.onnx", config=quick(view=step)
        )
    assert list(tmp_path.iterdir()) == []


def fitted_to_vectors(images: NDArray[np.float32], labels: NDArray[np.int64]) -> nn.Module:
    inputs, truth = torch.from_numpy(images), torch.from_numpy(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(200):
            loss = nn.functional.cross_entropy(model(inputs), truth)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
            optimiser.step()
    return model.eval()


def test_vectors_that_no_step_fits_are_shown_by_the_perturbation_alone(tmp_path: Path) -> None:
    """Bounds without 0: scaling would leave them, and there are no axes to move along."""
    random = np.random.default_rng(0)
    labels = random.integers(2, size=600)
    images = (1.5 + 0.4 * (labels[:, None] - 0.5) + 0.35 * random.normal(size=(600, 6))).clip(1, 2)
    model = fitted_to_vectors(images.astype(np.float32), labels)
    report = export_defended(
        model,
        images.astype(np.float32),
        labels,
        tmp_path / "m.onnx",
        config=quick(bounds=(1.0, 2.0)),
    )
    gate = report.manifest.gate
    assert gate is not None and (gate.view, gate.rho) == ((), True)
    assert [(trial.view, trial.rho) for trial in gate.views_tried] == [((), True)]


def test_the_network_of_these_tests_is_small() -> None:
    assert sum(parameter.numel() for parameter in ConvNet(10).parameters()) < 20_000
