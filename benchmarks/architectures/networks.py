"""The networks of others that the exporter is tried on, with random weights and, unless asked, 10 classes."""

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
MODULES = (  # noqa: SIM905
    "beit=beit_base_patch16_224 byoanet=halonet_h1 byobnet=repvgg_a0 cait=cait_xxs24_224 coat=coat_tiny "
    "convit=convit_tiny convmixer=convmixer_768_32 convnext=convnext_atto cpubone=cpubone_nano "
    "crossvit=crossvit_tiny_240 csatv2=csatv2 cspnet=cs3darknet_focus_s cspnext=cspnext_tiny "
    "davit=davit_tiny deepseek_vit=deepseek_vit_412m deit=deit_tiny_distilled_patch16_224 "
    "densenet=densenet121 dla=dla46x_c dpn=dpn48b edgenext=edgenext_xx_small "
    "efficientformer=efficientformer_l1 efficientformer_v2=efficientformerv2_s0 "
    "efficientnet=efficientnet_b0 efficientvim=efficientvim_m1 efficientvit_mit=efficientvit_b0 "
    "efficientvit_msra=efficientvit_m0 eva=eva02_tiny_patch14_224 fasternet=fasternet_t0 "
    "fastvit=fastvit_t8 focalnet=focalnet_tiny_srf gcvit=gcvit_xxtiny gemma4_vit=gemma4_vit_167m_enc "
    "ghostnet=ghostnet_100 hardcorenas=hardcorenas_b hgnet=hgnetv2_b0 hiera=hiera_tiny_224 "
    "hieradet_sam2=sam2_hiera_tiny hrnet=hrnet_w18_small iformer=iformer_t "
    "inception_next=inception_next_atto inception_resnet_v2=inception_resnet_v2 inception_v3=inception_v3 "
    "inception_v4=inception_v4 lcnetv2=lcnetv2_small levit=levit_128s lowformer=lowformer_b0 "
    "mambaout=mambaout_femto maxxvit=maxvit_rmlp_pico_rw_256 metaformer=caformer_s18 "
    "mlp_mixer=mixer_s16_224 mobilenetv3=mobilenetv3_small_100 mobilenetv5=mobilenetv5_base "
    "mobilevit=mobilevit_xxs mvitv2=mvitv2_tiny naflexvit=naflexvit_base_patch16_gap nasnet=nasnetalarge "
    "nest=nest_tiny nextvit=nextvit_small nfnet=dm_nfnet_f0 pit=pit_ti_224 pnasnet=pnasnet5large "
    "pvt_v2=pvt_v2_b0 qwen3_vit=qwen3_vit_88m rdnet=rdnet_tiny regnet=regnety_002 "
    "repghost=repghostnet_050 repvit=repvit_m0_9 res2net=res2next50 resnest=resnest14d resnet=resnet18 "
    "resnetv2=resnetv2_50 rexnet=rexnet_100 selecsls=selecsls42 senet=legacy_seresnet18 "
    "sequencer=sequencer2d_s shvit=shvit_s1 sknet=skresnet18 starnet=starnet_s050 "
    "swiftformer=swiftformer_xs swin_transformer=swin_tiny_patch4_window7_224 "
    "swin_transformer_v2=swinv2_tiny_window8_256 swin_transformer_v2_cr=swinv2_cr_tiny_224 "
    "tiny_vit=tiny_vit_5m_224 tnt=tnt_s_legacy_patch16_224 tresnet=tresnet_m twins=twins_svt_small "
    "vgg=vgg11_bn visformer=visformer_tiny vision_transformer=vit_tiny_patch16_224 "
    "vision_transformer_hybrid=vit_tiny_r_s16_p8_224 "
    "vision_transformer_relpos=vit_srelpos_small_patch16_224 "
    "vision_transformer_sam=samvit_base_patch16_224 vitamin=vitamin_small_224 volo=volo_d1_224 "
    "vovnet=ese_vovnet19b_slim_dw xception=legacy_xception xception_aligned=xception41p "
    "xcit=xcit_nano_12_p16_224"
).split()
"""MODULE=NETWORK: of every module of timm 1.0.31 one above, or about the smallest by parameters."""
SIZES = {"torchvision/inception_v3": 299}


def names() -> Iterator[str]:
    """All of them, as library/network."""
    yield from (f"timm/{name}" for name in TIMM)
    yield from (f"torchvision/{name}" for name in TORCHVISION)


def module_names() -> dict[str, str]:
    """A network of every module of timm, as library/network."""
    pairs = (each.split("=") for each in MODULES)
    return {module: f"timm/{name}" for module, name in pairs}


def build(name: str, classes: int = CLASSES) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network in eval mode, and the shape of one image.

    Weights are random. Heads that a library begins with zeros are drawn too: zeros let no gradient through.

    Raises:
        ImportError: its library is not installed.
    """
    library, _, network = name.partition("/")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, size = (_timm if library == "timm" else _torchvision)(network, classes)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.any():
                nn.init.normal_(module.weight, std=0.02)
    return model.eval(), size


def _timm(name: str, classes: int) -> tuple[nn.Module, tuple[int, int, int]]:
    timm: Any = _import("timm")
    model: nn.Module = timm.create_model(name, num_classes=classes)
    channels, height, width = model.default_cfg["input_size"]  # type: ignore[index]
    return model, (channels, height, width)


def _torchvision(name: str, classes: int) -> tuple[nn.Module, tuple[int, int, int]]:
    models: Any = _import("torchvision.models")
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    size = SIZES.get(f"torchvision/{name}", 224)
    model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
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
