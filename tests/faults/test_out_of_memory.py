"""Memory really runs out, in processes that may not have more: one clear error, or what the user chose."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from nip_runtime import DeviceError, InputError, OutOfMemoryError, SessionSettings
from nip_runtime.run.runners.memory import out_of_memory

GOLDENS = Path(__file__).parents[1] / "goldens"

LIMITED = """
import logging, resource, sys
from pathlib import Path
import numpy as np
from nip_runtime import DefendedSession, OutOfMemoryError, SessionSettings

engine, choice, rows, spare_mib = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout, level=logging.WARNING)
settings = SessionSettings(threads=1, on_out_of_memory=choice, log_level="fatal")
session = DefendedSession(sys.argv[1], device="cpu", engine=engine, settings=settings, max_batch=100_000)
images = np.load(Path(sys.argv[1]).with_suffix(".npz"))["images"]
few = session.predict(images)
many = np.resize(images, (rows, *images.shape[1:]))
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (spare_mib << 20), resource.RLIM_INFINITY))
for _ in range(2):
    try:
        got = session.predict(many)
    except OutOfMemoryError as error:
        print("error:", error)
    else:
        expected = np.resize(few.logits, got.logits.shape)
        print("answered", len(got), "equal" if (got.logits == expected).all() else "different")
again = session.predict(images)
print("usable" if again.logits.tobytes() == few.logits.tobytes() else "broken")
"""

CROWDED = """
import resource, sys
from pathlib import Path
from nip_runtime import DefendedSession, DeviceError
DefendedSession(sys.argv[1], device="cpu", engine="fused", threads=1).close()
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
# Less than the stack of one thread.
resource.setrlimit(resource.RLIMIT_AS, (held + (4 << 20), resource.RLIM_INFINITY))
try:
    DefendedSession(sys.argv[1], device="cpu", engine="fused", threads=2)
except DeviceError as error:
    print(error)
"""

FALLBACK = """
import logging, sys
from pathlib import Path
import numpy as np, onnxruntime as ort
from nip_runtime.file.artifact import opened
from nip_runtime.run.engine import choose
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.host import HostAnswering
from nip_runtime.run.engine.fused import FusedEngine
from nip_runtime.errors import NipError
from nip_runtime.run.providers import OnOutOfMemory, SessionSettings
from nip_runtime.run.runners import HostRunner
from functools import partial

# An arena of 8 MiB stands for a device of little memory; the CPU fallback has one without a limit.
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout, level=logging.WARNING)
memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": 8 << 20, "arena_extend_strategy": 1}))

def small(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.use_env_allocators", "1")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

path, settings = Path(sys.argv[1]), SessionSettings(threads=1, on_out_of_memory=sys.argv[2])
with opened(path) as (artifact, content):
    manifest = artifact.manifest
    engine = FusedEngine(bytes(content[:]), manifest, open_session=small, runner=HostRunner())
fallback = partial(choose._open_on_cpu, EngineKind.GATED, manifest, settings, partial(opened, path))
host = HostAnswering(engine, HostRunner(), OnOutOfMemory(sys.argv[2]), open_fallback=fallback)
images = np.load(sys.argv[3])["images"].reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(255)
few = host.answer(images)
if len(sys.argv) > 4:
    path.write_bytes(Path(sys.argv[4]).read_bytes())
for _ in range(2):
    try:
        got = host.answer(np.resize(images, (2000, 1, 28, 28)))
    except NipError as error:
        print(f"{type(error).__name__}: {error}")
    else:
        same = all((a == np.resize(b, a.shape)).all() for a, b in zip(got.values, few.values))
        print("answered", len(got.flagged), "equal" if same else "different")
print("usable" if (host.answer(images).logits == few.logits).all() else "broken")
"""


def run(script: str, *arguments: str | int | Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("choice", ["raise", "cpu"])
def test_a_batch_that_memory_does_not_hold_is_one_clear_error(choice: str) -> None:
    *errors, last = run(LIMITED, GOLDENS / "guarded.onnx", "gated", choice, 20_000, 100)
    assert len(errors) == 2
    for error in errors:
        assert error.startswith(
            "error: expected memory for this run, got Non-zero status code returned while"
        )
        assert "Failed to allocate memory for requested buffer of size" in error
        assert "onnxruntime_src" not in error
        assert "; lower max_batch, choose on_out_of_memory in SessionSettings, or free memory" in error
    assert last == "usable"


@pytest.mark.parametrize("engine", ["fused", "gated"])
def test_a_batch_that_memory_does_not_hold_is_split(engine: str) -> None:
    warning, *answers, last = run(LIMITED, GOLDENS / "guarded.onnx", engine, "split", 20_000, 220)
    assert warning.startswith("WARNING splitting batches that do not fit: expected memory for this run, got ")
    assert answers == ["answered 20000 equal"] * 2, "and the warning came once"
    assert last == "usable"


def test_arrays_of_our_own_that_memory_does_not_hold_are_the_same_error() -> None:
    *errors, last = run(LIMITED, GOLDENS / "guarded.onnx", "fused", "raise", 60_000, 40)
    assert len(errors) == 2
    assert all(
        error.startswith("error: expected memory for this run, got Unable to alloc") for error in errors
    )
    assert last == "usable"


def test_a_process_that_gets_no_more_threads_is_told_so() -> None:
    (said,) = run(CROWDED, GOLDENS / "guarded.onnx")
    assert said == (
        "expected 2 threads for this session, got a system that gives no more to this process;"
        " lower threads in SessionSettings, or raise the limits on memory and tasks"
    )


def test_the_cpu_answers_what_the_device_does_not_hold_if_the_user_said_so() -> None:
    path = GOLDENS / "guarded.onnx"
    warning, *answers, last = run(FALLBACK, path, "cpu", path.with_suffix(".npz"))
    assert warning.startswith("WARNING answering on the CPU what does not fit: expected memory for this run")
    assert "is smaller than requested bytes of" in warning
    assert answers == ["answered 2000 equal"] * 2, "and the warning came once"
    assert last == "usable"


def test_the_device_alone_answers_if_the_user_did_not_say_so() -> None:
    path = GOLDENS / "guarded.onnx"
    *errors, last = run(FALLBACK, path, "raise", path.with_suffix(".npz"))
    assert len(errors) == 2
    assert all(error.startswith("OutOfMemoryError: expected memory for this run") for error in errors)
    assert last == "usable"


def test_the_cpu_does_not_answer_with_another_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes((GOLDENS / "guarded.onnx").read_bytes())
    arguments = (path, "cpu", GOLDENS / "guarded.npz", GOLDENS / "detect.onnx")
    _, *errors, last = run(FALLBACK, *arguments)
    assert len(errors) == 2
    assert all("ArtifactError: expected the model that was opened from" in error for error in errors)
    assert last == "usable"


# As onnxruntime 1.9 to 1.31, CUDA, cuBLAS, cuDNN 8 and 9 and the C++ libraries are known to say it.
SAID = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node."
    " Name:'Conv_1' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void*"
    " onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool,"
    " onnxruntime::WaitNotificationFn) Failed to allocate memory for requested buffer of size 2830172160",
    "BFCArena::AllocateRawInternal Available memory of 0 is smaller than requested bytes of 97517568",
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; expr=cudaMalloc((void**)&p, size);",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; expr=cublasCreate(&cublas_handle_);",
    "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0",
    "CUDNN failure 4002: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0",
    "Non-zero status code returned while running Conv node. Status Message: std::bad_alloc",
    "bad allocation",
)


@pytest.mark.parametrize("text", SAID)
def test_shortage_is_recognised_in_every_librarys_words(text: str) -> None:
    short = out_of_memory(RuntimeError(text))
    assert isinstance(short, OutOfMemoryError)
    assert isinstance(short, DeviceError)
    assert "onnxruntime_src" not in str(short)
    assert str(pickle.loads(pickle.dumps(short))) == str(short)


@pytest.mark.parametrize(
    "text", ["CUDA failure 700: an illegal memory access was encountered", "invalid dimensions", ""]
)
def test_other_errors_are_left_alone(text: str) -> None:
    assert out_of_memory(RuntimeError(text)) is None


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(InputError, match="on_out_of_memory among raise, split, cpu, got 'retry'"):
        SessionSettings(on_out_of_memory="retry")  # type: ignore[arg-type]
