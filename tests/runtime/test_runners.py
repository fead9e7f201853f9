from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.errors import DeviceError, InputError
from nip_runtime.file.container.encoder import encode_model, encode_node, encode_tensor, encode_value
from nip_runtime.inputs.arrays import check_images, to_float32
from nip_runtime.run.providers import Device, DeviceKind, SessionSettings, open_session, run_options
from nip_runtime.run.runners import DeviceRunner, HostRunner, Runner
from nip_runtime.run.runners.captured import Captured, Copier
from nip_runtime.run.runners.memory import out_of_memory
from nip_runtime.session import DefendedSession
from tests.runtime.toy import pixels

CPU = Device(DeviceKind.CPU)
ONE_THREAD = SessionSettings(threads=1)
Arrays = list[NDArray[Any]]


class Subject:
    """A defended file opened with onnxruntime, and images for it."""

    def __init__(self, path: Path, session: DefendedSession) -> None:
        self.session = open_session(path, CPU, settings=ONE_THREAD)
        self.input = session.manifest.input.name
        self.outputs = [output.name for output in self.session.get_outputs()]
        spec = session.manifest.input
        self.images = to_float32(check_images(pixels(session, 12), spec), spec)

    def run(self, runner: Runner[Any], images: NDArray[Any], **options: Any) -> Arrays:
        values = runner.run(self.session, self.outputs, {self.input: runner.from_host(images)}, **options)
        return [runner.to_host(value) for value in values]


@pytest.fixture
def subject(any_path: Path, any_session: DefendedSession) -> Subject:
    return Subject(any_path, any_session)


def equal(left: Arrays, right: Arrays) -> None:
    assert len(left) == len(right) > 0
    for mine, theirs in zip(left, right, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("capture", [False, True])
def test_device_and_host_agree_bit_for_bit(subject: Subject, capture: bool) -> None:
    runner = DeviceRunner(CPU, capture=capture)
    for rows in (slice(0, 12), slice(0, 5), slice(5, 10), slice(0, 5)):
        images = subject.images[rows]
        equal(subject.run(runner, images), subject.run(HostRunner(), images))


def test_outputs_come_in_the_order_asked_for(toy_path: Path, toy: DefendedSession) -> None:
    subject = Subject(toy_path, toy)
    subject.outputs = subject.outputs[3::-2]
    for runner in (HostRunner(), DeviceRunner(CPU), DeviceRunner(CPU, capture=True)):
        flagged, raw = subject.run(runner, subject.images)
        assert (flagged.dtype.name, raw.dtype.name) == ("bool", "float32")


@pytest.mark.parametrize("capture", [False, True])
def test_what_one_run_gave_outlives_the_next(toy_path: Path, toy: DefendedSession, capture: bool) -> None:
    subject, runner = Subject(toy_path, toy), DeviceRunner(CPU, capture=capture)
    subject.run(runner, subject.images[:4])
    first = subject.run(runner, subject.images[:4])
    copies = [array.copy() for array in first]
    subject.run(runner, 1 - subject.images[:4])
    equal(first, copies)


def address(value: Any) -> int:
    pointer: int = value.data_ptr()
    return pointer


def test_a_tensor_on_the_host_is_no_copy(toy_path: Path, toy: DefendedSession) -> None:
    runner = DeviceRunner(CPU)
    images = np.zeros((2, 1, 4, 4), np.float32)
    value = runner.from_host(images)
    assert address(value) == images.ctypes.data == runner.to_host(value).ctypes.data
    swapped = runner.to_host(runner.from_host(np.arange(6, dtype=np.int64).reshape(2, 3).T))
    np.testing.assert_array_equal(swapped, [[0, 3], [1, 4], [2, 5]])


def test_a_view_of_a_tensor_keeps_its_memory() -> None:
    runner = DeviceRunner(CPU)
    images = np.full((64, 64), 7, np.float32)
    alive = weakref.ref(images)
    view = runner.to_host(runner.from_host(images))
    del images
    gc.collect()
    assert alive() is not None, "onnxruntime's own view would show freed memory now"
    np.testing.assert_array_equal(view, np.full((64, 64), 7))
    del view
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int64", "int32", "uint8", "int8", "bool"]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 1, 3)])
def test_every_kind_of_tensor_comes_back(dtype: str, shape: tuple[int, ...]) -> None:
    runner = DeviceRunner(CPU)
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    back = runner.to_host(runner.from_host(array))
    assert (back.dtype, back.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(back, array)


def doubler(dtype: str = "float32") -> Any:
    model = encode_model(
        nodes=[encode_node("Add", ["x", "x"], ["y"])],
        inputs=[encode_value("x", dtype, ["N"])],
        outputs=[encode_value("y", dtype, ["N"])],
    )
    return open_session(model, CPU, settings=ONE_THREAD)


def doubled(runner: DeviceRunner, session: Any, array: NDArray[Any]) -> Any:
    (value,) = runner.run(session, ["y"], {"x": runner.from_host(array)})
    return value


def test_captured_runs_stay_in_their_buffers_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    session, runner = doubler(), DeviceRunner(CPU, capture=True, max_captures=2)
    graphs: list[str] = []
    run = session.run_with_iobinding

    def watched(binding: Any, options: Any) -> None:
        graphs.append("" if options is None else options.get_run_config_entry("gpu_graph_id"))
        run(binding, options)

    monkeypatch.setattr(session, "run_with_iobinding", watched)
    for size in (3, 5, 3, 7, 7, 5):
        array = np.arange(size, dtype=np.float32)
        np.testing.assert_array_equal(runner.to_host(doubled(runner, session, array)), 2 * array)
    # A shape's first run is a plain one and then the capture; 7 comes when two shapes are kept already.
    assert graphs == ["", "1", "", "2", "1", "", "", "2"]


def test_on_cuda_only_sessions_that_capture_are_captured() -> None:
    class Session:
        """One on a GPU, as far as it says."""

        def __init__(self, enabled: str) -> None:
            self._options = {"CUDAExecutionProvider": {"enable_cuda_graph": enabled}}

        def get_provider_options(self) -> dict[str, dict[str, str]]:
            return self._options

    captured = Captured(Copier(Device(DeviceKind.CUDA)), 1)
    assert [captured.serves(Session(enabled)) for enabled in ("1", "True", "0", "false")] == [
        *(True, True),
        *(False, False),
    ]


def test_buffers_go_with_their_session() -> None:
    session, runner = doubler(), DeviceRunner(CPU, capture=True)
    doubled(runner, session, np.ones(3, np.float32))
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None


def test_a_run_with_options_is_a_plain_one(toy_path: Path, toy: DefendedSession) -> None:
    subject = Subject(toy_path, toy)
    shrink = run_options(CPU, shrink=True)
    for runner in (HostRunner(), DeviceRunner(CPU), DeviceRunner(CPU, capture=True)):
        equal(
            subject.run(runner, subject.images, options=shrink),
            subject.run(HostRunner(), subject.images),
        )


@pytest.mark.parametrize("capture", [False, True])
def test_threads_share_a_runner(toy_path: Path, toy: DefendedSession, capture: bool) -> None:
    subject, runner = Subject(toy_path, toy), DeviceRunner(CPU, capture=capture)
    wrong: list[str] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            images = rng.permutation(subject.images)[: 1 + seed % 3]
            try:
                equal(subject.run(runner, images), subject.run(HostRunner(), images))
            except AssertionError as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class _Elsewhere:
    """An OrtValue as one on a GPU would present itself."""

    def device_name(self) -> str:
        return "cuda"


def test_a_tensor_elsewhere_is_refused() -> None:
    with pytest.raises(InputError, match="expected x on cpu, got it on cuda; bring it there with from_host"):
        DeviceRunner(CPU).run(doubler(), ["y"], {"x": _Elsewhere()})


def test_devices_without_known_memory_are_refused() -> None:
    with pytest.raises(
        DeviceError, match="tensors can stay in, got OpenVINOExecutionProvider; use HostRunner"
    ):
        DeviceRunner(Device(DeviceKind.PROVIDER, name="OpenVINOExecutionProvider"))
    with pytest.raises(DeviceError, match="stay in while captured, got tensorrt:0; leave capture out"):
        DeviceRunner(Device(DeviceKind.TENSORRT), capture=True)


def expander() -> Any:
    model = encode_model(
        nodes=[encode_node("Expand", ["x", "shape"], ["y"])],
        inputs=[encode_value("x", "float32", ["N"]), encode_value("shape", "int64", [2])],
        outputs=[encode_value("y", "float32", ["A", "B"])],
    )
    return open_session(model, CPU, settings=SessionSettings(threads=1, log_level="fatal"))  # type: ignore[arg-type]  # text is taken too


@pytest.mark.parametrize(
    "make", [HostRunner, lambda: DeviceRunner(CPU), lambda: DeviceRunner(CPU, capture=True)]
)
def test_running_out_of_memory_says_what_to_do(make: Callable[[], Runner[Any]]) -> None:
    runner = make()
    petabytes = {"x": np.zeros(1, np.float32), "shape": np.array([16, 2**45])}
    with pytest.raises(
        DeviceError, match=r"got .*requested buffer of size 2251799813685248; lower max_batch"
    ) as caught:
        runner.run(expander(), ["y"], {name: runner.from_host(value) for name, value in petabytes.items()})
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "make", [HostRunner, lambda: DeviceRunner(CPU), lambda: DeviceRunner(CPU, capture=True)]
)
def test_other_errors_pass_as_they_are(make: Callable[[], Runner[Any]]) -> None:
    runner = make()
    with pytest.raises(Exception, match=r"(?i)invalid output name") as caught:
        runner.run(doubler(), ["z"], {"x": runner.from_host(np.ones(2, np.float32))})
    assert not isinstance(caught.value, DeviceError)


@pytest.mark.parametrize(
    "text",
    [
        "BFCArena: Available memory of 1024 is smaller than requested bytes of 4096",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
    ],
)
def test_knows_the_words_for_short_memory(text: str) -> None:
    assert "max_batch" in str(out_of_memory(RuntimeError(text)))
    assert out_of_memory(RuntimeError("CUDA failure 700: an illegal memory access")) is None


_MEASURE = """
import gc, os, sys
from pathlib import Path
from nip_runtime.inputs.arrays import check_images, to_float32
from nip_runtime.run.providers import Device, DeviceKind, SessionSettings, open_session
model = open(sys.argv[1], "rb").read()
settings = SessionSettings(threads=1, prepacking=False)
if sys.argv[2] == "plain":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
else:
    session = open_session(model, Device(DeviceKind.CPU), settings=settings)
del model
gc.collect()
pages = int(Path("/proc/self/statm").read_text().split()[1])
print(pages * os.sysconf("SC_PAGE_SIZE"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads resident memory from /proc")
def test_a_session_lets_go_of_the_bytes_it_was_made_of(tmp_path: Path) -> None:
    size = 32 * 2**20
    weights = np.ones((2048, size // 4 // 2048), np.float32)
    model = encode_model(
        nodes=[encode_node("MatMul", ["x", "w"], ["y"])],
        inputs=[encode_value("x", "float32", ["N", 2048])],
        outputs=[encode_value("y", "float32", ["N", size // 4 // 2048])],
        initializers=[encode_tensor("w", weights)],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    held = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", _MEASURE, str(path), how], capture_output=True, text=True, check=True
            ).stdout
        )
        for how in ("plain", "ours")
    }
    assert held["plain"] - held["ours"] > 0.8 * size
