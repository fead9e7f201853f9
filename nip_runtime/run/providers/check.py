"""Runs small models on a device and compares the results: the only proof that the device works."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import NipError
from nip_runtime.file.container.encoder import encode_model, encode_node, encode_tensor, encode_value
from nip_runtime.run.providers import cuda
from nip_runtime.run.providers.device import CPU, CUDA, TENSORRT, Device, DeviceKind
from nip_runtime.run.providers.open import create_session
from nip_runtime.run.providers.options import session_options
from nip_runtime.run.providers.plugins import registered_providers
from nip_runtime.run.providers.settings import LogLevel, SessionSettings
from nip_runtime.support.dependencies import installed

_TENSORRT_CURE: Final = "install TensorRT in the version that this onnxruntime names on its TensorRT page"
_PLACES: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(?:cc|h):\d+ .*?\) (?=\S)")
_OTHER_CURE: Final = "see onnxruntime's page on this execution provider"


@dataclass(frozen=True)
class Check:
    """What running small models on a provider showed.

    Args:
        provider: onnxruntime's name of it.
        works: it computes, and the right numbers.
        problem: why it does not work; "" where it does.
        cure: what to do about it; "" where it works.
        rounds: it keeps less than float32 of the factors of float32 products.
    """

    provider: str
    works: bool
    problem: str = ""
    cure: str = ""
    rounds: bool = False


def check_device(ort: Any, device: Device, *, provider_options: Mapping[str, str] | None = None) -> Check:
    """Run a small model on ``device`` and compare the result; where that fails, find out why.

    Args:
        ort: the onnxruntime module.
        device: to try.
        provider_options: what the user wants to tell the provider; wrong ones show here.

    Raises:
        DeviceError: if a plugin provider has no device of that index.
    """
    available = ort.get_available_providers()
    if device.memory == "cuda":
        if device.provider not in available:
            what = "TensorRT" if device.kind is DeviceKind.TENSORRT else "CUDA"
            return Check(device.provider, False, f"this onnxruntime is built without {what}", _gpu_build())
        if not cuda.has_driver():
            return Check(device.provider, False, *cuda.why_not(ort))
        cuda.preload(ort)
    elif device.kind is DeviceKind.PROVIDER:
        problem, cure = _why_no_provider(ort, device)
        if problem:
            return Check(device.provider, False, problem, cure)
    return _try(
        ort, device, SessionSettings(log_level=LogLevel.FATAL, provider_options=provider_options or {})
    )


def _gpu_build() -> str:
    # All of them: where both builds are installed, each has overwritten parts of the other.
    builds = " ".join(installed("onnxruntime"))
    return f'pip uninstall {builds}, then pip install "nip-runtime[gpu]"'


def _why_no_provider(ort: Any, device: Device) -> tuple[str, str]:
    known, plugins = ort.get_available_providers(), registered_providers(ort)
    if device.provider in plugins:
        return "", ""
    if device.provider not in known:
        return (
            f"this onnxruntime knows only {', '.join(sorted({*known, *plugins}))}",
            "install the build with this provider, or register its plugin library first:"
            " nip_runtime.run.providers.register_plugin",
        )
    if device.index:
        return "a built-in provider numbers no devices", "pick the device by provider_options"
    return "", ""


def _try(ort: Any, device: Device, settings: SessionSettings) -> Check:
    x = np.array([[1, 2, 3], [-4, 5, -6]], np.float32)
    weights = np.array([[1, 0], [2, -1], [0, 3]], np.float32)
    bias = np.array([10, -10], np.float32)
    try:
        y = _affine(ort, device, settings, x, weights, bias)
        expected = x @ weights + bias  # small integers: exact in every float format
        if not np.array_equal(y, expected):
            wrong = f"it computes {y.tolist()} for {expected.tolist()}"
            return Check(device.provider, False, wrong, "check the driver and hardware")
        rounds = device.kind is not DeviceKind.CPU and _rounds(ort, device, settings)
    except NipError:
        raise  # already in our words: an index that the provider does not have
    except _SilentFallback as error:
        return _failed(ort, device.provider, str(error))
    except Exception as error:  # onnxruntime's errors share no base class of their own
        return _failed(ort, device.provider, in_words(error))
    return Check(device.provider, True, rounds=rounds)


class _SilentFallback(Exception):
    """Another provider than the one asked for was taken."""


def _rounds(ort: Any, device: Device, settings: SessionSettings) -> bool:
    """Whether factors of float32 products lose bits: TF32 and float16 keep 10 bits, bfloat16 7."""
    # Large enough for the units that round. 1 + 2⁻¹² takes 12 bits, and float32 holds all sums exactly.
    x = np.full((64, 64), 1 + 2.0**-12, np.float32)
    weights = np.ones((64, 64), np.float32)
    y = _affine(ort, device, settings, x, weights, np.zeros(64, np.float32))
    return bool(np.abs(y - x @ weights).max() > 64 * 2.0**-14)


def _affine(
    ort: Any,
    device: Device,
    settings: SessionSettings,
    x: NDArray[np.float32],
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> NDArray[np.float32]:
    """x @ weights + bias, computed by onnxruntime on ``device`` alone."""
    options = session_options(ort, settings)
    if device.provider != CPU:
        # A provider that hands its nodes on to the CPU would seem to work.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    inner, outer = weights.shape
    model = encode_model(
        nodes=[encode_node("MatMul", ["x", "w"], ["p"]), encode_node("Add", ["p", "b"], ["y"])],
        inputs=[encode_value("x", "float32", ["N", inner])],
        outputs=[encode_value("y", "float32", ["N", outer])],
        initializers=[encode_tensor("w", weights), encode_tensor("b", bias)],
    )
    session = create_session(ort, model, device, options, settings, helpers=False)
    taken = session.get_providers()[0]
    if taken != device.provider:
        raise _SilentFallback(f"onnxruntime silently took {taken} instead")
    (y,) = session.run(["y"], {"x": x})
    return np.asarray(y)


def in_words(error: Exception) -> str:
    """What onnxruntime says, on one line, without its error codes and places in its source."""
    return _PLACES.sub("", " ".join(str(error).split()))


def _failed(ort: Any, provider: str, symptom: str) -> Check:
    if provider in (CUDA, TENSORRT):
        problem, cure = cuda.why_not(ort)
        if problem or provider == CUDA:
            return Check(provider, False, problem or symptom, cure)
        return Check(provider, False, symptom, _TENSORRT_CURE)
    return Check(provider, False, symptom, _OTHER_CURE)
