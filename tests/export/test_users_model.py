"""The user's model is borrowed: it comes back as it was given, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nip_export import export_defended
from nip_runtime.errors import ExportError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.container import read_container
from tests.export.made import Made, Workshop
from tests.export.networks import Net, net


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that an export could disturb."""
    return {
        "modes": {name: module.training for name, module in model.named_modules()},
        "asks_gradient": {name: p.requires_grad for name, p in model.named_parameters()},
        "parameters": {name: id(p) for name, p in model.named_parameters()},
        "gradients": {
            name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
        },
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "hooks": {
            name: [
                len(getattr(module, kind))
                for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
            ]
            for name, module in model.named_modules()
        },
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "classes": {name: type(module) for name, module in model.named_modules()},
        "torch_random": torch.random.get_rng_state(),
        "numpy_random": torch.from_numpy(np.random.get_state()[1].astype(np.int64)),  # type: ignore[index]
        "gradients_on": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
    }


def assert_unchanged(before: Any, after: Any, at: str = "model") -> None:
    if isinstance(before, dict):
        assert before.keys() == after.keys(), at
        for key, value in before.items():
            assert_unchanged(value, after[key], f"{at}/{key}")
    elif isinstance(before, Tensor):
        assert isinstance(after, Tensor), at
        assert torch.equal(before, after), at
    else:
        assert before == after, at


def unusual(case: Net, workshop: Workshop) -> nn.Module:
    """In training mode but for one layer, with a frozen parameter, gradients and a hook of the user's."""
    model = workshop.trained(case.name).train()
    first = next(model.parameters())
    first.requires_grad_(False)
    for parameter in list(model.parameters())[1:3]:
        parameter.grad = torch.full_like(parameter, 0.25)
    list(model.modules())[-1].eval()
    list(model.modules())[2].register_forward_hook(lambda module, inputs, output: None)
    return model


def export(case: Net, model: nn.Module, path: Path, **options: Any) -> None:
    images, labels = case.split("calibration", 600)
    export_defended(model, images, labels, path, config=case.config(ascent_steps=2), **options)


@pytest.mark.parametrize("name", ["vgg", "mlp"])
def test_it_is_as_it_was_after_an_export(workshop: Workshop, tmp_path: Path, name: str) -> None:
    model = unusual(net(name), workshop)
    before = snapshot(model)
    export(net(name), model, tmp_path / "model.onnx")
    assert_unchanged(before, snapshot(model))


@pytest.mark.parametrize("mode", ["no gradients", "inference", "float64"])
def test_modes_that_the_caller_has_set_do_not_matter(workshop: Workshop, tmp_path: Path, mode: str) -> None:
    """Many a script that only wants answers of its network sets one of these at its top."""
    model = workshop.trained("mlp")
    export(net("mlp"), model, tmp_path / "usual.onnx")
    try:
        if mode == "float64":
            torch.set_default_dtype(torch.float64)
        with torch.inference_mode() if mode == "inference" else torch.set_grad_enabled(mode == "float64"):
            export(net("mlp"), model, tmp_path / "other.onnx")
            assert torch.is_grad_enabled() == (mode == "float64")
            assert torch.is_inference_mode_enabled() == (mode == "inference")
        assert torch.get_default_dtype() == (torch.float64 if mode == "float64" else torch.float32)
    finally:
        torch.set_default_dtype(torch.float32)
    digests = [read_artifact(tmp_path / name).manifest.digests.graph for name in ("usual.onnx", "other.onnx")]
    assert digests[0] == digests[1]


class Stopped(Exception):
    """What this file's tests raise in the middle of an export."""


def stop_at(stage: str, error: Callable[[], BaseException], *, within: bool) -> Callable[..., Any]:
    def progress(title: str, total: int) -> Callable[[int], None]:
        if title == stage and not within:
            raise error()

        def advance(done: int) -> None:
            if title == stage:
                raise error()

        return advance

    return progress


def test_an_error_at_any_stage_leaves_model_and_old_file_as_they_were(
    workshop: Workshop, tmp_path: Path
) -> None:
    case, path = net("mlp"), tmp_path / "model.onnx"
    stages: list[str] = []

    def note(title: str, total: int) -> Callable[[int], None]:
        stages.append(title)
        return lambda done: None

    export(case, workshop.trained("mlp"), path, progress=note)
    assert len(stages) >= 7
    assert len(set(stages)) == len(stages)
    old = path.read_bytes()
    model = unusual(case, workshop)
    before = snapshot(model)
    for number, stage in enumerate(stages):
        error = (Stopped, KeyboardInterrupt, MemoryError)[number % 3]
        with pytest.raises(error):
            export(case, model, path, progress=stop_at(stage, error, within=number % 2 == 1))
        assert_unchanged(before, snapshot(model), stage)
        assert path.read_bytes() == old, stage
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name], stage


def test_it_is_as_it_was_after_a_refusal(mlp: Made, workshop: Workshop, tmp_path: Path) -> None:
    model = unusual(mlp.net, workshop)
    before = snapshot(model)
    images, labels = mlp.net.split("calibration", 600)
    with pytest.raises(ExportError):
        export_defended(model, images, labels, tmp_path / "m.onnx", config=mlp.net.config(taps=["no.layer"]))
    with pytest.raises(ExportError):
        export_defended(model, images, (labels + 1) % 10, tmp_path / "m.onnx", config=mlp.net.config())
    assert_unchanged(before, snapshot(model))
    assert list(tmp_path.iterdir()) == []


def test_the_file_does_not_hang_on_the_model(workshop: Workshop, tmp_path: Path) -> None:
    """An export in training mode gives the same graph as one in evaluation mode."""
    case = net("mlp")
    trained, lazy = tmp_path / "trained.onnx", tmp_path / "lazy.onnx"
    export(case, workshop.trained("mlp"), trained)
    export(case, unusual(case, workshop), lazy)
    assert read_container(trained).graph_digest == read_container(lazy).graph_digest
