"""Inputs that are no pixels, and normalisation in 0…255: everything counts in the input's own unit."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from nip_export.commands.images import read_images
from nip_export.commands.numbers import as_shares, interval, part
from nip_runtime.cli.main import main
from nip_runtime.errors import InputError
from nip_runtime.session import DefendedSession

FACTORY = f"{__name__}:waves_net"


def waves_net() -> nn.Module:
    """A small network over waveforms (N, 1, 64)."""
    return nn.Sequential(
        nn.Conv1d(1, 8, 9, 2, 4), nn.ReLU(), nn.Conv1d(8, 16, 9, 2, 4), nn.ReLU(), nn.Conv1d(16, 16, 9, 2, 4),
        nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def waves(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Sines of three pitches in [−1, 1], of any phase, with noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    phase = random.uniform(0, 2 * np.pi, (count, 1))
    angle = np.arange(64) * (0.2 + 0.25 * labels[:, None]) + phase
    noisy = 0.6 * np.sin(angle) + random.normal(0, 0.15, (count, 64))
    return noisy.clip(-1, 1).astype(np.float32)[:, None], labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained weights and benign waveforms."""
    path = tmp_path_factory.mktemp("waves")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = waves_net()
        x, y = (torch.from_numpy(a) for a in waves(512, 1))
        optimiser = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(80):
            optimiser.zero_grad()
            F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    torch.save(model.state_dict(), path / "w.pt")
    images, labels = waves(600, 2)
    np.savez(path / "benign.npz", images=images, labels=labels)
    return path


def test_waveforms_keep_their_bounds_and_their_unit(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", "--model", FACTORY, "--weights", str(folder / "w.pt"), "--eps", "0.01"]
    arguments += ["--force"]  # so small a network can hardly be defended
    arguments += ["--data", str(folder / "benign.npz"), "--out", str(tmp_path / "m.onnx")]
    assert main([*arguments, "--bounds=-1,1"]) == 0
    summary = capsys.readouterr().out
    assert "ε = 0.01," in summary and "/255" not in summary
    with DefendedSession(tmp_path / "m.onnx", device="cpu") as session:
        assert session.manifest.input.bounds == (-1.0, 1.0)
        images, labels = waves(100, 3)
        assert (session.predict(images).labels == labels).mean() > 0.9
    assert main(arguments) == 2
    assert "expected float32 values in [0, 1]" in capsys.readouterr().err


def test_values_beyond_the_bounds_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"values in \[-0\.5, 0\.5\], got -1 to 1"):
        read_images(folder / "benign.npz", None, None, (-0.5, 0.5))


@pytest.mark.parametrize(
    ("mean", "std", "bounds", "expected"),
    [
        ((0.485,), (0.229,), (0, 1), ((0.485,), (0.229,), False)),
        ((127.0,), (128.0,), (0, 1), ((127 / 255,), (128 / 255,), True)),
        ((0.0,), (255.0,), (0, 1), ((0.0,), (1.0,), True)),
        ((104.0, 117.0), (1.0, 1.0), (0, 1), ((104 / 255, 117 / 255), (1 / 255, 1 / 255), True)),
        ((3.0,), (2.0,), (-10, 10), ((3.0,), (2.0,), False)),
        (None, None, (0, 1), (None, None, False)),
    ],
)
def test_normalisation_in_255ths_is_recognised(
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    bounds: tuple[float, float],
    expected: tuple[object, object, bool],
) -> None:
    assert as_shares(mean, std, (float(bounds[0]), float(bounds[1]))) == expected


def test_bounds_are_two_numbers_low_below_high() -> None:
    assert interval("-1,1") == (-1.0, 1.0)
    for text in ("1", "1,0", "0,0", "0,1,2"):
        with pytest.raises(argparse.ArgumentTypeError, match="two numbers, low below high"):
            interval(text)


def test_whole_numbers_are_refused_as_such(tmp_path: Path) -> None:
    np.savez(tmp_path / "ids.npz", images=np.zeros((4, 9), np.int64), labels=np.zeros(4, np.int64))
    with pytest.raises(InputError, match="token ids, are not supported"):
        read_images(tmp_path / "ids.npz", None, None)


@pytest.mark.parametrize("text", ["2", "1", "0", "-0.1", "nan", "2/1"])
def test_a_budget_typed_in_per_cent_is_told_how_to_spell_it(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"above 0 and below 1, such as 0\.02 for 2 %, got"):
        part(text)
    assert part("0.02") == 0.02
