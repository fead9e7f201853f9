"""The networks of others that the exporter is tried on, with random weights and 10 classes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

CLASSES = 10
TIMM = (  # noqa: SIM905
    "resnet18 mobilenetv3_small_100 efficientnet_b0 tf_efficientnet_lite0 convnext_atto vit_tiny_patch16_224 "
    "eva02_tiny_patch14_224 xcit_nano_12_p16_224 edgenext_xx_small pvt_v2_b0 swin_tiny_patch4_window7_224 "
    "densenet121 resnetv2_50 inception_v3 seresnext26d_32x4d regnety_002 fastvit_t8 lcnet_050 ghostnet_100 "
    "mobilenetv4_conv_small caformer_s18 dm_nfnet_f0 deit_tiny_distilled_patch16_224 efficientformer_l1 "
    "repvit_m0_9 levit_128s mixer_s16_224 poolformer_s12 maxvit_rmlp_pico_rw_256 hrnet_w18_small "
    "efficientvit_b0 mobilevit_xxs repvgg_a0 mobileone_s0 coat_tiny vgg11_bn convmixer_768_32"
).split()
TORCHVISION = (  # noqa: SIM905
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t "
    "mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50 "
    "resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t vgg11_bn vit_b_16 wide_resnet50_2"
).split()
"""One of every kind of classifier, mostly the smallest."""
SIZES = {"torchvision/inception_v3": 299}


def names() -> Iterator[str]:
    """All of them, as library/network."""
    yield from (f"timm/{name}" for name in TIMM)
    yield from (f"torchvision/{name}" for name in TORCHVISION)


def build(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network in eval mode, and the shape of one image.

    Weights are random. Heads that a library begins with zeros are drawn too: zeros let no gradient through.

    Raises:
        ImportError: its library is not installed.
    """
    library, _, network = name.partition("/")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, size = _timm(network) if library == "timm" else _torchvision(network)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.any():
                nn.init.normal_(module.weight, std=0.02)
    return model.eval(), size


def _timm(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    timm: Any = _import("timm")
    model: nn.Module = timm.create_model(name, num_classes=CLASSES)
    channels, height, width = model.default_cfg["input_size"]  # type: ignore[index]
    return model, (channels, height, width)


def _torchvision(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    models: Any = _import("torchvision.models")
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    size = SIZES.get(f"torchvision/{name}", 224)
    model: nn.Module = models.get_model(name, weights=None, num_classes=CLASSES, **options)
    return model, (3, size, size)


def _import(name: str) -> Any:
    """Import a library that may lack torchvision's compiled operators: no classifier uses them."""
    import importlib

    for operator in ("nms", "qnms"):
        try:
            torch.library.define(f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor")
        except RuntimeError:  # they are there
            break
    return importlib.import_module(name)
