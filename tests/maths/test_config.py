from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest

from nip_export.config import ExportConfig
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import PerturbationMethod, Policy, Resize

NAN = math.nan
WRONG: dict[str, list[Any]] = {
    "policy": ["off", "GUARDED", None, 1],
    "precision": ["int4", "FP16", None, 16],
    "perturbation": ["pgd", None],
    "resize": ["cubic", 0],
    "benign_budget": [0, 1, -0.1, 1.5, NAN, 0.41, "0.02", None],
    "calibration_fraction": [0, 1, -0.1, 2, NAN, "0.4"],
    "eps": [0, -0.1, 1, 8, NAN, math.inf, "8/255"],
    "screen_rate": [0, -0.1, 1.01, NAN, None],
    "bounds": [(1, 0), (0, 0), (0, math.inf), (NAN, 1), (0, 1, 2), (0,)],
    "top_k": [0, -1, 2.5, NAN, "5"],
    "cells": [0, -1, 4.0],
    "early_readouts": [0, -1, 1.0],
    "ascent_steps": [0, -1, math.inf],
    "batch_size": [0, -1, 1.5],
    "seed": [-1, 0.5],
    "mean": [[NAN], [0.5, math.inf], ["0.5"], [None], [True], "ab", 5],
    "std": [[NAN], [-math.inf], [0.0], [-1.0], ["0.5"], "ab"],
    "input_name": ["", "nip_input", "nip"],
    "output_name": ["", "nip_logits", "nip/x", "input"],
    "taps": ["features", "", []],
    "view": [None, 3, ("mirror",)],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_refusal_names_field_and_value(field: str, value: Any) -> None:
    settings = {field: value}
    if field in ("mean", "std"):
        settings = {"mean": [0.5], "std": [0.5]} | settings
    with pytest.raises(ExportError) as refused:
        ExportConfig(**settings)
    message = str(refused.value)
    assert message.startswith(f"{field}: expected ")
    assert message.endswith(f"got {value!r}")


@pytest.mark.parametrize("given", [{"mean": [0.5]}, {"std": [0.5]}])
def test_mean_and_std_come_together(given: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match="std: expected mean and std together or neither"):
        ExportConfig(**given)


def test_a_budget_above_the_screen_rate_is_refused_with_both_numbers() -> None:
    ExportConfig(benign_budget=0.05, screen_rate=0.05)
    with pytest.raises(ExportError, match=r"benign_budget: expected at most screen_rate = 0.05, got 0.06"):
        ExportConfig(benign_budget=0.06, screen_rate=0.05)


@pytest.mark.parametrize(
    "view",
    [
        "",
        "identity",
        "flip",
        "mirror+",
        "+rho",
        "mirror+mirror",
        "rho+mirror",
        "rho+rho",
        "Mirror",
        "mirror,rho",
    ],
)
def test_a_view_that_there_is_not_is_refused_with_all_that_there_are(view: str) -> None:
    steps = "mirror, shift, median, blur, gain, polarity, delay, bits, "
    steps += "jpeg50, jpeg60, jpeg70, jpeg75, jpeg80, jpeg85, jpeg90, each at most once, and 'rho' last"
    with pytest.raises(
        ExportError, match=rf"^view: expected 'auto', or {steps}.* got {re.escape(repr(view))}$"
    ):
        ExportConfig(view=view)


@pytest.mark.parametrize("view", ["auto", "rho", "mirror", "mirror+rho", "gain", "shift+bits+rho"])
def test_a_view_of_steps_is_taken(view: str) -> None:
    assert ExportConfig(view=view).view == view


def test_always_takes_no_view() -> None:
    assert ExportConfig(policy="always").view == "auto"
    for view in ("mirror", "rho", "mirror+rho"):
        with pytest.raises(
            ExportError, match=f"view: expected 'auto' for policy always.* got '{re.escape(view)}'"
        ):
            ExportConfig(policy="always", view=view)


def test_eps_is_measured_in_the_units_of_the_bounds() -> None:
    assert ExportConfig(eps=8, bounds=(0, 255)).eps == 8
    assert ExportConfig(eps=1.5, bounds=(-1, 1)).eps == 1.5
    with pytest.raises(ExportError, match=r"eps: expected above 0, below 2.*got 2"):
        ExportConfig(eps=2, bounds=(-1, 1))


def test_words_become_members_of_their_enum() -> None:
    config = ExportConfig(policy="always", perturbation="one-step", resize="area")
    assert config.policy is Policy.ALWAYS
    assert config.perturbation is PerturbationMethod.ONE_STEP
    assert config.resize is Resize.AREA
    assert ExportConfig(policy=Policy.DETECT).policy is Policy.DETECT
    assert ExportConfig().resize is None


def test_numbers_of_numpy_are_numbers() -> None:
    numbers: dict[str, Any] = {"top_k": np.int64(3), "eps": np.float32(0.1), "seed": np.uint8(7)}
    config = ExportConfig(**numbers)
    assert (config.top_k, config.seed) == (3, 7)


def test_a_config_does_not_change_after_birth_and_takes_names_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ExportConfig().eps = 0.1  # type: ignore[misc]
    with pytest.raises(TypeError):
        ExportConfig("always")  # type: ignore[call-arg]


def test_the_defaults_are_those_of_the_documentation() -> None:
    config = ExportConfig()
    assert (config.policy, config.benign_budget, config.eps) == (Policy.GUARDED, 0.02, 8 / 255)
    assert (config.top_k, config.bounds, config.view) == (5, (0.0, 1.0), "auto")
