from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import onnxruntime
import pytest

from nip_runtime.errors import DeviceError, InputError
from nip_runtime.run.providers import Device, DeviceKind
from nip_runtime.run.runners import DeviceRunner, from_dlpack, to_dlpack
from nip_runtime.run.runners.driver import cuda_driver
from nip_runtime.run.runners.pinned import pinned_empty

CPU = Device(DeviceKind.CPU)
SHAPE = (None, 3, 4)


def taken(tensor: Any, **options: Any) -> Any:
    return from_dlpack(tensor, device=CPU, **{"shape": SHAPE, **options})


def array() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_numpy_goes_in_without_a_copy() -> None:
    images = array()
    assert taken(images).data_ptr() == images.ctypes.data
    images.flags.writeable = False
    assert taken(images).data_ptr() == images.ctypes.data


@pytest.mark.skipif(
    not hasattr(onnxruntime.OrtValue, "__dlpack_device__"), reason="OrtValue has no DLPack (before 1.21)"
)
def test_an_ortvalue_passes_as_it_is() -> None:
    value = onnxruntime.OrtValue.ortvalue_from_numpy(array())
    assert taken(value) is value


def test_torch_goes_in_and_comes_out_without_a_copy() -> None:
    torch = pytest.importorskip("torch")
    images = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    value = taken(images)
    assert value.data_ptr() == images.data_ptr()
    back = torch.from_dlpack(to_dlpack(value))
    assert back.data_ptr() == images.data_ptr()
    np.testing.assert_array_equal(back, array())


def test_what_came_in_keeps_its_memory() -> None:
    torch = pytest.importorskip("torch")
    images = torch.full((1, 3, 4), 7.0)
    value = taken(images)
    del images
    gc.collect()
    others = [torch.full((1, 3, 4), 9.0) for _ in range(500)]
    np.testing.assert_array_equal(DeviceRunner(CPU).to_host(value), np.full((1, 3, 4), 7))
    del others


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_what_goes_out_keeps_its_memory(library: str) -> None:
    importer = pytest.importorskip(library)
    source = np.full((2, 3, 4), 7, np.float32)
    alive = weakref.ref(source)
    tensor = importer.from_dlpack(to_dlpack(DeviceRunner(CPU).from_host(source)))
    del source
    gc.collect()
    assert alive() is not None
    np.testing.assert_array_equal(np.asarray(tensor), np.full((2, 3, 4), 7))
    del tensor
    gc.collect()
    assert alive() is None


def test_outputs_of_a_run_go_out_without_a_copy() -> None:
    value = onnxruntime.OrtValue.ortvalue_from_shape_and_type([2, 2], np.float32)
    value.update_inplace(np.eye(2, dtype=np.float32))
    taken_over = np.from_dlpack(to_dlpack(value))
    assert taken_over.ctypes.data == value.data_ptr()
    del value
    gc.collect()
    np.testing.assert_array_equal(taken_over, np.eye(2))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ([1.0], "expected a tensor with __dlpack__ and __dlpack_device__, got list; pass a numpy array"),
        (np.zeros((2, 3, 4)), r"expected float32 \(N, 3, 4\), got float64 \(2, 3, 4\); convert"),
        (np.zeros((2, 4, 3), np.float32), r"expected float32 \(N, 3, 4\), got float32 \(2, 4, 3\)"),
        (np.zeros((3, 4), np.float32), r"got float32 \(3, 4\)"),
        (np.zeros((2, 3, 8), np.float32)[..., ::2], "a C-contiguous tensor, .*numpy.ascontiguousarray"),
        (np.zeros((2, 4, 3), np.float32).transpose(0, 2, 1), "a C-contiguous tensor"),
    ],
)
def test_refuses_other_tensors(tensor: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        taken(tensor)


def test_refuses_what_torch_cannot_hand_over() -> None:
    torch = pytest.importorskip("torch")
    cases = [
        (torch.zeros(2, 3, 8)[..., ::2], r"a C-contiguous tensor, .*; images.contiguous\(\)"),
        (torch.zeros(2, 3, 4, requires_grad=True), r"requires a gradient; pass images.detach\(\)"),
        (torch.zeros(2, 3, 4, dtype=torch.complex64), "takes by DLPack, got .*; pass float32 numbers"),
        (torch.zeros(2, 3, 4, dtype=torch.bfloat16), r"expected float32 \(N, 3, 4\), got tensor\(bfloat16\)"),
        (torch.zeros(2, 3, 4, dtype=torch.bool), "takes by DLPack"),
        (torch.zeros(2, 3, 4, dtype=torch.float16), r"got float16 \(2, 3, 4\)"),
        (torch.zeros(2, 3, 4, device="meta"), "expected a tensor on cpu, got .*meta"),
    ]
    for tensor, message in cases:
        with pytest.raises(InputError, match=message):
            taken(tensor)


class _OnGpu:
    """Says that it lies on a GPU."""

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        raise AssertionError("must not be asked for")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 1


def test_refuses_tensors_elsewhere() -> None:
    with pytest.raises(InputError, match="expected a tensor on cpu, got one on cuda:1; move it there"):
        taken(_OnGpu())
    with pytest.raises(InputError, match="expected a tensor on cuda:0, got one on cuda:1"):
        from_dlpack(_OnGpu(), device=Device(DeviceKind.CUDA), shape=SHAPE)
    with pytest.raises(InputError, match="expected a tensor on cuda:0, got one on cpu"):
        from_dlpack(array(), device=Device(DeviceKind.CUDA), shape=SHAPE)
    other = Device(DeviceKind.PROVIDER, name="OpenVINOExecutionProvider")
    with pytest.raises(InputError, match="device cpu or cuda for DLPack, got OpenVINOExecutionProvider"):
        from_dlpack(array(), device=other, shape=SHAPE)


class _Library:
    """Stands for libcuda, with the host's own memory for page-locked memory."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[str] = []
        self.pages: dict[int, Any] = {}
        self._fails = fails

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == self._fails:
                return 2
            if name == "cuMemHostAlloc":
                import ctypes

                address, size, flags = arguments
                assert flags.value == 1
                buffer = ctypes.create_string_buffer(size.value)
                address._obj.value = ctypes.addressof(buffer)
                self.pages[ctypes.addressof(buffer)] = buffer
            elif name == "cuMemFreeHost":
                del self.pages[arguments[0].value]
            return 0

        return call


@pytest.fixture
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = _Library(getattr(request, "param", ""))
    monkeypatch.setattr("ctypes.CDLL", lambda name: fake)
    cuda_driver.cache_clear()
    yield fake
    cuda_driver.cache_clear()


def test_page_locked_memory_goes_with_its_last_array(library: _Library) -> None:
    images = pinned_empty((2, 3, 4))
    assert (images.shape, images.dtype.name, images.flags.writeable) == ((2, 3, 4), "float32", True)
    assert [len(buffer) for buffer in library.pages.values()] == [96]
    images[:] = 5
    row = images[1]
    del images
    gc.collect()
    assert len(library.pages) == 1
    np.testing.assert_array_equal(row, np.full((3, 4), 5))
    del row
    gc.collect()
    assert library.pages == {}
    # The device's context is put in place for every call, and taken away again.
    assert library.calls[2:] == [
        "cuDevicePrimaryCtxRetain",
        *("cuCtxPushCurrent_v2", "cuMemHostAlloc", "cuCtxPopCurrent_v2"),
        *("cuCtxPushCurrent_v2", "cuMemFreeHost", "cuCtxPopCurrent_v2"),
    ]


@pytest.mark.parametrize("library", ["cuMemHostAlloc", "cuDeviceGet"], indirect=True)
def test_a_call_that_fails_is_named(library: _Library) -> None:
    with pytest.raises(DeviceError, match=r"expected cu\w+ of the CUDA driver to succeed, got error 2"):
        pinned_empty((2, 3))
    assert library.calls.count("cuCtxPushCurrent_v2") == library.calls.count("cuCtxPopCurrent_v2")


def test_without_a_driver_page_locked_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", missing)
    cuda_driver.cache_clear()
    with pytest.raises(DeviceError, match="expected an NVIDIA driver, got none installed; run `nip doctor`"):
        pinned_empty((2, 3))
