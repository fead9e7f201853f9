"""Weights as training scripts save them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nip_export.network.checkpoints import load_weights
from nip_runtime.errors import ExportError
from tests.models import conv_bn_relu, seeded

State = Mapping[str, Tensor]


def net(seed: int = 0) -> nn.Module:
    """Its own names begin with "model.", as a wrapper's prefix does."""
    return seeded(
        lambda: nn.ModuleDict({"model": nn.Sequential(*conv_bn_relu(3, 4)), "fc": nn.Linear(4, 2)}), seed=seed
    )


def prefixed(prefix: str) -> Callable[[State], dict[str, Any]]:
    return lambda state: {f"{prefix}{name}": value for name, value in state.items()}


SAVED: dict[str, tuple[Callable[[State], dict[str, Any]], str]] = {
    "plain": (dict, ""),
    "data parallel": (prefixed("module."), "module."),
    "lightning": (lambda s: {"state_dict": prefixed("model.")(s), "epoch": 3}, "model."),
    "compiled": (prefixed("_orig_mod."), "_orig_mod."),
    "compiled in data parallel": (prefixed("module._orig_mod."), "module._orig_mod."),
    "averaged": (lambda s: {**prefixed("module.")(s), "n_averaged": torch.tensor(3)}, "module."),
    "ema": (prefixed("ema."), "ema."),
    "under model": (lambda s: {"model": dict(s), "epoch": 3, "optimizer": {}}, ""),
    "under model_state_dict": (lambda s: {"model_state_dict": dict(s), "loss": 0.1}, ""),
    "two deep": (lambda s: {"state": 1, "model": {"state_dict": dict(s), "step": 1}}, ""),
}


@pytest.mark.parametrize("name", SAVED)
def test_weights_arrive(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make, prefix = SAVED[name]
    trained, fresh = net(), net(seed=7)
    torch.save(make(trained.state_dict()), tmp_path / "w.pt")
    with caplog.at_level(logging.INFO, logger="nip_export"):
        load_weights(fresh, tmp_path / "w.pt")
    for key, value in trained.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value)
    assert (f"begin with '{prefix}'" in caplog.text) == bool(prefix)


def test_prefix_is_taken_off_safetensors_too(tmp_path: Path) -> None:
    save_file(prefixed("module.")(net().state_dict()), tmp_path / "w.safetensors")
    load_weights(net(), tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "optimizer": {"lr": 0.1}}, r"a dictionary of epoch \(int\), optimizer \(dict\)"),
        ({}, "got an empty dictionary"),
        ([torch.zeros(1)], "got list"),
        (
            {"encoder.model.0.weight": torch.zeros(1)},
            r"the model's missing 8: model\.0\.weight, .*; unknown to the model 1: encoder\.model\.0\.weight",
        ),
        (
            {**net().state_dict(), "fc.bias": torch.zeros(3)},
            r"1 have other shapes: fc\.bias \(3,\) instead of \(2,\)",
        ),
    ],
)
def test_what_does_not_fit_is_listed(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ExportError, match=message):
        load_weights(net(), tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripted_model_is_no_weights(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "w.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(ExportError, match="holds a scripted model, expected weights"):
        load_weights(net(), tmp_path / "w.pt")


def test_safetensors_by_another_suffix_are_told_by_what_they_hold(tmp_path: Path) -> None:
    trained, fresh = net(), net(seed=7)
    save_file(trained.state_dict(), tmp_path / "w.sft")
    load_weights(fresh, tmp_path / "w.sft")
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in fresh.state_dict().items())


def cut_off(path: Path, save: Callable[[dict[str, Tensor], Path], None]) -> bytes:
    save(net().state_dict(), path)
    return path.read_bytes()[:900]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "got an empty file", id="empty"),
        pytest.param(b"airplane\nautomobile\nbird\n", "no torch checkpoint", id="text"),
        pytest.param(b"import torch\n", "no torch checkpoint", id="code"),
        pytest.param(b"\x00" * 400, "no torch checkpoint", id="zeros"),
        pytest.param(b"\x80\x02" + bytes(range(256)), "no torch checkpoint", id="noise"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(90), "got a PNG image", id="image"),
        pytest.param("torch", "cut off or damaged", id="cut off, of torch"),
        pytest.param("safetensors", "cut off or damaged", id="cut off, of safetensors"),
    ],
)
def test_what_is_no_weights_is_named(content: bytes | str, message: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    if isinstance(content, str):
        content = cut_off(path, torch.save if content == "torch" else save_file)
    path.write_bytes(content)
    with pytest.raises(ExportError, match=message):
        load_weights(net(), path)


def test_a_folder_is_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="got a folder; name the file in it"):
        load_weights(net(), tmp_path)
