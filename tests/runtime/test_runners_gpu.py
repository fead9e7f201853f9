from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.errors import DeviceError, InputError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.container.encoder import encode_model, encode_node, encode_tensor, encode_value
from nip_runtime.file.names import RAW_LOGITS
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.providers import (
    Device,
    DeviceKind,
    SessionSettings,
    open_session,
    run_options,
)
from nip_runtime.run.runners import DeviceRunner, HostRunner, from_dlpack, pinned_empty, to_dlpack
from nip_runtime.session import DefendedSession
from tests.runtime.cuda import on_gpu

pytestmark = on_gpu()

CPU = Device(DeviceKind.CPU)
CUDA = Device(DeviceKind.CUDA)
GOLDENS = sorted((Path(__file__).parents[1] / "goldens").glob("*.onnx"))


class Plain:
    """The undefended part of a golden file: every node runs on CUDA, no shape depends on data."""

    def __init__(self, path: Path) -> None:
        spec = read_artifact(path).manifest.input
        self.input, self.shape = spec.name, spec.shape
        self.model = Sliceable(path.read_bytes()).part([spec.name], [RAW_LOGITS])

    def images(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        return np.random.default_rng(seed).random((count, *self.shape), np.float32)

    def logits(self, runner: Any, session: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
        (value,) = runner.run(session, [RAW_LOGITS], {self.input: runner.from_host(images)})
        found: NDArray[np.float32] = runner.to_host(value)
        return found


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain(GOLDENS[0])


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_tensors_on_the_device_change_no_bit(path: Path) -> None:
    session, runner = open_session(path, CUDA), DeviceRunner(CUDA)
    (taken,) = session.get_inputs()
    outputs = [output.name for output in session.get_outputs()]
    images = np.random.default_rng(0).random((16, *taken.shape[1:]), np.float32)
    there = runner.run(session, outputs, {taken.name: runner.from_host(images)})
    assert {value.device_name() for value in there} == {"cuda"}
    for value, expected in zip(there, HostRunner().run(session, outputs, {taken.name: images}), strict=True):
        np.testing.assert_array_equal(runner.to_host(value), expected)


def test_float32_products_keep_all_their_bits() -> None:
    # 1 + 2⁻¹² needs 12 bits of mantissa: float32 keeps them, TF32 has 10 and makes it 1.
    weights = np.full((64, 64), np.float32(1 + 2.0**-12))
    model = encode_model(
        nodes=[encode_node("MatMul", ["x", "w"], ["y"])],
        inputs=[encode_value("x", "float32", ["N", 64])],
        outputs=[encode_value("y", "float32", ["N", 64])],
        initializers=[encode_tensor("w", weights)],
    )
    (y,) = open_session(model, CUDA).run(None, {"x": np.ones((64, 64), np.float32)})
    np.testing.assert_allclose(y, 64 * (1 + 2.0**-12), rtol=2.0**-20)


def test_convolutions_keep_all_their_bits(plain: Plain) -> None:
    images = plain.images(16)
    on_cpu = plain.logits(HostRunner(), open_session(plain.model, CPU), images)
    on_cuda = plain.logits(HostRunner(), open_session(plain.model, CUDA), images)
    np.testing.assert_allclose(on_cuda, on_cpu, rtol=1e-4, atol=1e-4)


def test_captured_runs_give_what_plain_ones_give(plain: Plain) -> None:
    captured = open_session(plain.model, CUDA, settings=SessionSettings(cuda_graph=True))
    session = open_session(plain.model, CUDA)
    runner, host = DeviceRunner(CUDA, capture=True), HostRunner()
    for seed in range(4):  # the first run of a size captures, the others replay
        for count in (1, 4, 16, 4, 1):
            images = plain.images(count, seed)
            np.testing.assert_array_equal(
                plain.logits(runner, captured, images), plain.logits(host, session, images)
            )


def test_captured_results_outlive_the_next_replay(plain: Plain) -> None:
    captured = open_session(plain.model, CUDA, settings=SessionSettings(cuda_graph=True))
    runner = DeviceRunner(CUDA, capture=True)
    feeds = [{plain.input: runner.from_host(plain.images(4, seed))} for seed in range(4)]
    values = [runner.run(captured, [RAW_LOGITS], feed)[0] for feed in feeds]
    for seed, value in enumerate(values):
        again = plain.logits(runner, captured, plain.images(4, seed))
        np.testing.assert_array_equal(runner.to_host(value), again)


def test_shapes_beyond_the_limit_run_plainly_on_a_session_with_graphs(plain: Plain) -> None:
    captured = open_session(plain.model, CUDA, settings=SessionSettings(cuda_graph=True))
    session = open_session(plain.model, CUDA)
    runner = DeviceRunner(CUDA, capture=True, max_captures=1)
    for count in (2, 3, 2, 5, 3):
        images = plain.images(count, seed=count)
        np.testing.assert_array_equal(
            plain.logits(runner, captured, images), plain.logits(HostRunner(), session, images)
        )


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
@pytest.mark.parametrize("graphs", [False, True])
def test_engines_agree(path: Path, graphs: bool) -> None:
    with np.load(path.with_suffix(".npz")) as stored:
        images = stored["images"]
    settings = SessionSettings(cuda_graph=graphs)
    with (
        DefendedSession(path, device="cuda", engine="gated", settings=settings, max_batch=16) as gated,
        DefendedSession(path, device="cuda", engine="fused", max_batch=16) as fused,
        DefendedSession(path, device="cpu") as on_cpu,
    ):
        gated.warmup()
        for _ in range(3):
            mine = gated.predict(images)
            for theirs in (fused.predict(images), on_cpu.predict(images)):
                np.testing.assert_allclose(mine.logits, theirs.logits, rtol=1e-3, atol=1e-3)
                np.testing.assert_array_equal(mine.candidate, theirs.candidate)


def test_a_defended_file_answers_torch_tensors_in_place() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch sees no CUDA device")
    path = next(path for path in GOLDENS if path.stem == "guarded")
    with np.load(path.with_suffix(".npz")) as stored:
        images = (stored["images"][:16, None] / 255).astype(np.float32)
    with DefendedSession(path, device="cuda") as session:
        answers = session.predict_tensor(torch.from_numpy(images).cuda())
        logits = torch.from_dlpack(answers.logits)
        assert logits.is_cuda
        np.testing.assert_array_equal(logits.cpu().numpy(), session.predict(images).logits)


@pytest.mark.parametrize("capture", [False, True])
def test_threads_share_a_session(plain: Plain, capture: bool) -> None:
    session = open_session(plain.model, CUDA, settings=SessionSettings(cuda_graph=capture))
    runner, wrong = DeviceRunner(CUDA, capture=capture), list[str]()
    expected = {seed: plain.logits(runner, session, plain.images(4, seed)) for seed in range(4)}

    def work(seed: int) -> None:
        for _ in range(20):
            try:
                found = plain.logits(runner, session, plain.images(4, seed))
                np.testing.assert_array_equal(found, expected[seed])
            except Exception as error:  # a thread's own would go unseen
                wrong.append(str(error))

    if capture:  # while one thread captures, no other may use the GPU
        for seed in range(4):
            thread = threading.Thread(target=work, args=(seed,))
            thread.start()
            thread.join()
    else:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_torch_tensors_go_in_and_out_without_a_copy(plain: Plain) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch sees no CUDA device")
    session, runner = open_session(plain.model, CUDA), DeviceRunner(CUDA)
    images = plain.images(8)
    tensor = torch.from_numpy(images).cuda()
    value = from_dlpack(tensor, device=CUDA, shape=(None, *plain.shape))
    assert (value.data_ptr(), value.device_name()) == (tensor.data_ptr(), "cuda")
    (logits,) = runner.run(session, [RAW_LOGITS], {plain.input: value})
    back = torch.from_dlpack(to_dlpack(logits))
    assert (back.data_ptr(), back.is_cuda) == (logits.data_ptr(), True)
    np.testing.assert_array_equal(back.cpu().numpy(), plain.logits(HostRunner(), session, images))
    del logits, value
    gc.collect()
    assert torch.isfinite(back).all()


def test_work_under_way_in_torch_is_waited_for(plain: Plain) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch sees no CUDA device")
    session, runner = open_session(plain.model, CUDA), DeviceRunner(CUDA)
    images = plain.images(8)
    source = torch.from_numpy(images).cuda()
    busy = torch.rand(4096, 4096, device="cuda")
    for _ in range(5):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            target = torch.zeros_like(source)
            for _ in range(20):  # keeps the stream busy for long after the calls return
                busy = (busy @ busy).clamp(0, 1)
            target.copy_(source)
            value = from_dlpack(target, device=CUDA, shape=(None, *plain.shape))
        (logits,) = runner.run(session, [RAW_LOGITS], {plain.input: value})
        np.testing.assert_array_equal(runner.to_host(logits), plain.logits(HostRunner(), session, images))


def test_page_locked_memory_is_copied_right(plain: Plain) -> None:
    session, runner = open_session(plain.model, CUDA), DeviceRunner(CUDA)
    images = pinned_empty((8, *plain.shape))
    for seed in range(3):
        images[:] = plain.images(8, seed)
        np.testing.assert_array_equal(
            plain.logits(runner, session, images),
            plain.logits(HostRunner(), session, plain.images(8, seed)),
        )


def test_too_little_memory_is_told_in_our_words() -> None:
    model = encode_model(
        nodes=[encode_node("Expand", ["x", "shape"], ["y"])],
        inputs=[encode_value("x", "float32", ["N"]), encode_value("shape", "int64", [2])],
        outputs=[encode_value("y", "float32", ["A", "B"])],
    )
    session = open_session(model, CUDA, settings=SessionSettings(gpu_mem_limit_bytes=64 * 2**20))
    runner = DeviceRunner(CUDA)
    for rows, fits in ((1, True), (256, False), (1, True)):
        feed = {"x": np.ones(1, np.float32), "shape": np.array([rows, 2**20])}
        values = {name: runner.from_host(value) for name, value in feed.items()}
        if fits:
            assert runner.run(session, ["y"], values)[0].shape() == [rows, 2**20]
        else:
            with pytest.raises(DeviceError, match="expected memory for this run on the device, got"):
                runner.run(session, ["y"], values)


def test_arenas_shrink_after_a_burst(plain: Plain) -> None:
    session, runner = open_session(plain.model, CUDA), DeviceRunner(CUDA)
    images = plain.images(8)
    feed = {plain.input: runner.from_host(images)}
    (value,) = runner.run(session, [RAW_LOGITS], feed, options=run_options(CUDA, shrink=True))
    np.testing.assert_array_equal(runner.to_host(value), plain.logits(HostRunner(), session, images))


def test_a_tensor_on_the_host_is_refused(plain: Plain) -> None:
    session = open_session(plain.model, CUDA)
    value = DeviceRunner(CPU).from_host(plain.images(1))
    with pytest.raises(InputError, match="on cuda:0, got it on cpu; bring it there with from_host"):
        DeviceRunner(CUDA).run(session, [RAW_LOGITS], {plain.input: value})


class TestSecondDevice:
    pytestmark = on_gpu(1)

    def test_computes_the_same(self, plain: Plain) -> None:
        images = plain.images(8)
        found = []
        for index in (0, 1):
            device = Device(DeviceKind.CUDA, index)
            found.append(plain.logits(DeviceRunner(device), open_session(plain.model, device), images))
        np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-4)

    def test_takes_no_tensor_of_the_first(self, plain: Plain) -> None:
        torch = pytest.importorskip("torch")
        tensor = torch.from_numpy(plain.images(1)).to("cuda:0")
        with pytest.raises(InputError, match="expected a tensor on cuda:1, got one on cuda:0"):
            from_dlpack(tensor, device=Device(DeviceKind.CUDA, 1), shape=(None, *plain.shape))
