"""The embedded example: a trained network and benign images of Fashion-MNIST, shipped in the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import safetensors.torch

from nip_export.data import ImageSet
from nip_export.demo.model import MEAN, STD, SmallVgg
from nip_export.demo.surrogate import SmallResNet
from nip_runtime.errors import InputError


@dataclass(frozen=True, eq=False)
class Example:
    """What `nip demo` works on.

    Attributes:
        model: trained network in evaluation mode; expects input normalised by `mean` and `std`.
        surrogate: another architecture trained on the same images, for transfer attacks; likewise.
        profile: 2000 images for influence profiles and perturbations, none seen in training.
        calibration: 1500 others for thresholds, none seen in training.
        test: 500 images of the official test split, for the table only.
        mean: per channel, in [0, 1].
        std: per channel, in [0, 1].
    """

    model: SmallVgg
    surrogate: SmallResNet
    profile: ImageSet
    calibration: ImageSet
    test: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the network's outputs."""
        return self.profile.class_names or ()


def load_example() -> Example:
    """Load network and images, both shipped in the package (MIT licence, see assets/NOTICE).

    Raises:
        InputError: a file of the installed package is missing.
    """
    assets = files("nip_export.demo") / "assets"
    try:
        with as_file(assets / "weights.safetensors") as weights:
            state = safetensors.torch.load_file(weights)
        with as_file(assets / "surrogate.safetensors") as weights:
            surrogate_state = safetensors.torch.load_file(weights)
        with as_file(assets / "images.npz") as packed, np.load(packed, allow_pickle=False) as loaded:
            arrays: dict[str, Any] = dict(loaded)
    except FileNotFoundError as error:
        raise InputError.mismatch(
            expected="the demo's assets inside the installed package",
            got=str(error),
            fix="reinstall nip-runtime, or run python -m nip_export.demo.build_assets in a checkout",
        ) from error
    model = SmallVgg()
    # Stored in half precision; copying into the network's parameters widens them again.
    model.load_state_dict(state)
    surrogate = SmallResNet()
    surrogate.load_state_dict(surrogate_state)
    names = tuple(str(name) for name in arrays["class_names"])
    splits = {
        name: ImageSet(arrays[f"{name}_images"], arrays[f"{name}_labels"].astype(np.int64), names)
        for name in ("profile", "calibration", "test")
    }
    return Example(model=model.eval(), surrogate=surrogate.eval(), mean=MEAN, std=STD, **splits)
