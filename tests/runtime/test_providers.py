from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from nip_runtime.cli.main import main
from nip_runtime.errors import DependencyError, DeviceError
from nip_runtime.run import providers
from nip_runtime.run.providers import CPU, CUDA, TENSORRT, Device, DeviceKind, UsableCores
from nip_runtime.session import DefendedSession
from nip_runtime.support import dependencies
from tests.runtime.cuda import works
from tests.runtime.toy import pixels

HAS_CUDA_BUILD = CUDA in onnxruntime.get_available_providers()


class FakeRuntime(ModuleType):
    """An onnxruntime that offers CUDA and behaves in the named way when asked for it."""

    def __init__(self, behaviour: str) -> None:
        super().__init__("onnxruntime")
        self.behaviour = behaviour
        self.opened: list[tuple[object, list[tuple[str, dict[str, str]]], int]] = []
        self.SessionOptions = onnxruntime.SessionOptions
        self.__file__ = onnxruntime.__file__
        self.__version__ = onnxruntime.__version__
        self.set_default_logger_severity = lambda level: None

    def get_available_providers(self) -> list[str]:
        return [CPU] if self.behaviour == "cpu build" else [TENSORRT, CUDA, CPU]

    def preload_dlls(self) -> None:
        print("Failed to load libcublasLt.so.12")

    def InferenceSession(
        self,
        model: object,
        _options: object,
        *,
        providers: list[tuple[str, dict[str, str]]],
        enable_fallback: int,
    ) -> SimpleNamespace:
        self.opened.append((model, providers, enable_fallback))
        if self.behaviour == "raises":
            raise RuntimeError("CUDA failure 999:\n unknown error")
        taken = CPU if self.behaviour == "falls back" else providers[0][0]
        offset = 1 if self.behaviour == "wrong numbers" else 0

        def run(_names: object, feed: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
            x = feed["x"]
            if x.shape[1] == 64:  # the question whether it rounds
                kept = np.float16 if self.behaviour == "rounds" else np.float32
                return [x.astype(kept).astype(np.float32) @ np.ones((64, 64), np.float32)]
            weights = np.array([[1, 0], [2, -1], [0, 3]], np.float32)
            return [x @ weights + np.array([10, -10], np.float32) + offset]

        return SimpleNamespace(get_providers=lambda: [taken], run=run)


@pytest.fixture
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    runtime = FakeRuntime(request.param)
    monkeypatch.setattr("ctypes.CDLL", lambda name, mode=0: _Driver(1))
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    return runtime


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", None),
        ("cpu", Device(DeviceKind.CPU)),
        ("cuda", Device(DeviceKind.CUDA, 0)),
        ("cuda:1", Device(DeviceKind.CUDA, 1)),
    ],
)
def test_reads_devices(text: str, device: Device | None) -> None:
    assert providers.parse_device(text) == device


@pytest.mark.parametrize(
    "text", ["gpu", "cuda:", "cuda:-1", "cuda:one", "CPU", "", "cuda:1234", "cuda:١", None]
)
def test_refuses_other_devices(text: str, toy_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"expected device auto, cpu, cuda or cuda:N, tensorrt .*, got"):
        DefendedSession(toy_path, device=text)


def test_the_cpu_really_works() -> None:
    check = providers.check_device(onnxruntime, Device(DeviceKind.CPU))
    assert check == providers.Check(CPU, True)


@pytest.mark.skipif(HAS_CUDA_BUILD, reason="this onnxruntime has CUDA")
def test_cuda_on_a_cpu_build_is_refused_with_the_cure(toy_path: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"expected device cuda:1, got this onnxruntime is built without CUDA; .*gpu"
    ):
        DefendedSession(toy_path, device="cuda:1")


@pytest.mark.skipif(HAS_CUDA_BUILD, reason="this onnxruntime has CUDA")
def test_auto_takes_the_cpu_and_says_so(toy_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), DefendedSession(toy_path) as session:
        assert session.device == "cpu"
    assert "device auto: taking cpu, because CUDA does not work" in caplog.text


@pytest.mark.parametrize("fake", ["works"], indirect=True)
def test_auto_takes_a_cuda_that_works(
    fake: FakeRuntime, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert str(providers.resolve("auto")) == "cuda:0"
    assert "device auto: taking cuda:0" in caplog.text
    assert "libcublasLt" in caplog.text
    assert capsys.readouterr().out == "", "a library does not print"
    _, asked, fallback = fake.opened[0]
    options = {
        "device_id": "0",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }
    assert asked == [(CUDA, options)], "no other provider may help out in the check"
    assert fallback == 0


@pytest.mark.parametrize("fake", ["works", "rounds"], indirect=True)
@pytest.mark.parametrize(
    ("text", "cure"), [("auto", "use_tf32"), ("cuda", "use_tf32"), ("tensorrt", "NVIDIA_TF32_OVERRIDE=0")]
)
def test_a_device_that_rounds_is_taken_with_a_warning(
    fake: FakeRuntime, text: str, cure: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        device = providers.resolve(text)
    assert device.memory == "cuda"
    assert ("rounds the factors of float32 products" in caplog.text) is (fake.behaviour == "rounds")
    assert (cure in caplog.text) is (fake.behaviour == "rounds")


@pytest.mark.parametrize("fake", ["cpu build", "raises", "falls back", "wrong numbers"], indirect=True)
def test_a_cuda_that_does_not_compute_is_never_taken(fake: FakeRuntime) -> None:
    assert str(providers.resolve("auto")) == "cpu"
    with pytest.raises(DeviceError, match=r"expected device cuda:0, got .*or ask for device cpu"):
        providers.resolve("cuda")


@pytest.mark.parametrize("fake", ["wrong numbers"], indirect=True)
def test_wrong_numbers_are_named(fake: FakeRuntime) -> None:
    check = providers.check_device(fake, Device(DeviceKind.CUDA))
    assert "it computes [[16.0, -2.0]" in check.problem


@pytest.mark.parametrize("fake", ["falls back"], indirect=True)
def test_a_session_on_another_provider_is_refused(fake: FakeRuntime, toy_path: Path) -> None:
    with pytest.raises(
        DeviceError, match="expected device cuda:0, got onnxruntime took CPUExecutionProvider"
    ):
        providers.open_session(toy_path, Device(DeviceKind.CUDA), threads=None)
    assert [name for name, _ in fake.opened[0][1]] == [CUDA, CPU]


class _Driver:
    """Stands for libcuda: ``count`` devices."""

    def __init__(self, count: int) -> None:
        self._count = count

    def cuInit(self, _flags: int) -> int:
        return 0 if self._count else 100

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self._count
        return 0


@pytest.mark.parametrize(
    ("devices", "missing_library", "message"),
    [
        (None, None, "no NVIDIA driver is installed"),
        (0, None, "the NVIDIA driver sees no device"),
        (1, "libcublasLt.so.13: cannot open", r"a CUDA library does not load \(libcublasLt.so.13"),
        (2, None, "CUDA failure 999: unknown error; .*the driver sees 2 devices"),
    ],
)
@pytest.mark.parametrize("fake", ["raises"], indirect=True)
def test_says_why_cuda_does_not_work(
    fake: FakeRuntime,
    monkeypatch: pytest.MonkeyPatch,
    devices: int | None,
    missing_library: str | None,
    message: str,
) -> None:
    def load(name: str, mode: int = 0) -> _Driver:
        if "cuda.so.1" in name or "nvcuda" in name:
            if devices is None:
                raise OSError("not found")
            return _Driver(devices)
        if missing_library is not None and "providers_cuda" in name:
            raise OSError(missing_library)
        return _Driver(0)

    monkeypatch.setattr("ctypes.CDLL", load)
    with pytest.raises(DeviceError, match=f"expected device cuda:0, got {message}"):
        providers.resolve("cuda")


def doctor(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["doctor"]) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.skipif(HAS_CUDA_BUILD, reason="this onnxruntime has CUDA")
def test_doctor_counts_cores_and_picks_the_cpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = UsableCores(count=3, affinity=8, physical=8, quota_cores=3.5)
    monkeypatch.setattr("nip_runtime.cli.doctor.usable_cores", lambda: cores)
    said = doctor(capsys)
    assert "processor 3 usable cores: cgroup quota of 3.5 cores devices" in said
    assert "CUDAExecutionProvider does not work: this onnxruntime is built without CUDA" in said
    assert "auto takes cpu" in said
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["picked"] == "cpu"
    assert told["cores"] == {"count": 3, "affinity": 8, "physical": 8, "quota_cores": 3.5}


@pytest.mark.parametrize(
    ("fake", "verdict", "picked"),
    [
        ("works", "works", "cuda:0"),
        ("rounds", "works, but rounds float32 numbers", "cuda:0"),
    ],
    indirect=["fake"],
)
def test_doctor_says_what_auto_takes(
    fake: FakeRuntime, verdict: str, picked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = doctor(capsys)
    assert f"CUDAExecutionProvider {verdict} TensorrtExecutionProvider {verdict} auto takes {picked}" in said


def test_doctor_names_two_builds_and_the_cure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name in ("onnxruntime", "onnxruntime-gpu", "numpy"):
            return "1.2.3"
        raise PackageNotFoundError

    monkeypatch.setattr("nip_runtime.cli.doctor.version", version)
    assert (
        "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: pip uninstall"
        ' onnxruntime onnxruntime-gpu, then pip install "nip-runtime[cpu]" or "nip-runtime[gpu]"'
    ) in doctor(capsys)


def test_a_missing_onnxruntime_names_both_extras(toy_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError) as caught:
        DefendedSession(toy_path)
    assert 'pip install "nip-runtime[cpu]" or pip install "nip-runtime[gpu]"' in str(caught.value)


def test_a_broken_package_is_told_from_a_missing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    with pytest.raises(
        DependencyError, match=r"expected a working cv2, got one that does not load \(libGL.so.1"
    ):
        dependencies.load("cv2")


@pytest.mark.parametrize(
    ("module", "cure"),
    [
        ("torch.nn", r"package torch, got none installed; pip install \"nip-runtime\[export\]\""),
        ("foolbox", r"pip install \"nip-runtime\[eval\]\""),
        ("cv2", r"pip install \"nip-runtime\[vision\]\""),
        ("quux", "got none installed; install quux"),
    ],
)
def test_a_missing_module_names_its_extra(module: str, cure: str) -> None:
    error = dependencies.missing(ModuleNotFoundError(f"No module named {module!r}", name=module))
    with pytest.raises(DependencyError, match=cure):
        raise error


@pytest.mark.gpu
@pytest.mark.skipif(not works(), reason="no CUDA device that works")
def test_cuda_agrees_with_the_cpu(any_path: Path, any_session: DefendedSession) -> None:
    images = pixels(any_session, 17)
    with DefendedSession(any_path, device="cuda") as session:
        assert session.device == "cuda:0"
        logits = session.predict(images).raw_logits
    np.testing.assert_allclose(logits, any_session.predict(images).raw_logits, rtol=1e-4, atol=1e-4)
