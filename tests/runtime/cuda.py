"""What tests on a GPU share: which devices there are, asked for once."""

from __future__ import annotations

from functools import cache

import onnxruntime
import pytest

from nip_runtime.run.providers import Device, DeviceKind, check_device


@cache
def works(index: int = 0) -> bool:
    """onnxruntime computes on this CUDA device."""
    return check_device(onnxruntime, Device(DeviceKind.CUDA, index)).works


def on_gpu(index: int = 0) -> list[pytest.MarkDecorator]:
    """Marks of a test that needs the CUDA devices up to ``index``."""
    missing = not works() or (index > 0 and not works(index))
    return [pytest.mark.gpu, pytest.mark.skipif(missing, reason=f"no CUDA device {index} that works")]
