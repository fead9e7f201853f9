from __future__ import annotations

import json
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from nip_runtime.errors import DeviceError, InputError
from nip_runtime.file.container.encoder import encode_model, encode_node, encode_tensor, encode_value
from nip_runtime.run.providers import (
    CPU,
    CUDA,
    NO_GRAPH,
    TENSORRT,
    ArenaExtend,
    ConvSearch,
    Device,
    DeviceKind,
    LogLevel,
    SessionSettings,
    Spinning,
    open_session,
    parse_device,
    resolve,
    run_options,
    usable_cores,
)
from nip_runtime.run.providers.options import provider_list, provider_options, session_options

ON_CPU = Device(DeviceKind.CPU)
ON_CUDA = Device(DeviceKind.CUDA, 1)
OPENVINO = Device(DeviceKind.PROVIDER, name="OpenVINOExecutionProvider")


@pytest.mark.parametrize(
    ("text", "device", "provider", "memory"),
    [
        ("cuda:1", ON_CUDA, CUDA, "cuda"),
        ("CUDAExecutionProvider:1", ON_CUDA, CUDA, "cuda"),
        ("tensorrt", Device(DeviceKind.TENSORRT), TENSORRT, "cuda"),
        ("tensorrt:2", Device(DeviceKind.TENSORRT, 2), TENSORRT, "cuda"),
        ("TensorrtExecutionProvider", Device(DeviceKind.TENSORRT), TENSORRT, "cuda"),
        ("CPUExecutionProvider", ON_CPU, CPU, "cpu"),
        ("OpenVINOExecutionProvider", OPENVINO, "OpenVINOExecutionProvider", None),
        ("Acme.Ep:3", Device(DeviceKind.PROVIDER, 3, "Acme.Ep"), "Acme.Ep", None),
    ],
)
def test_devices_stand_for_providers(text: str, device: Device, provider: str, memory: str | None) -> None:
    parsed = parse_device(text, registered=["Acme.Ep"])
    assert parsed == device
    assert (device.provider, device.memory) == (provider, memory)
    assert parse_device(str(device), registered=["Acme.Ep"]) == device


@pytest.mark.parametrize("text", ["ExecutionProvider", "cpu:0", "CPUExecutionProvider:1", "Acme.Ep", "a b"])
def test_other_names_stand_for_nothing(text: str) -> None:
    with pytest.raises(DeviceError, match="or a provider's name such as OpenVINOExecutionProvider, got"):
        parse_device(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": DeviceKind.PROVIDER},
        {"kind": DeviceKind.CUDA, "name": CUDA},
        {"kind": DeviceKind.CPU, "index": 1},
    ],
)
def test_devices_that_make_no_sense_are_not_born(fields: dict[str, Any]) -> None:
    with pytest.raises(DeviceError):
        Device(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threads": 0}, "expected threads of at least 1, got 0"),
        ({"threads": True}, "expected threads of at least 1, got True"),
        ({"inter_op_threads": 1.5}, "expected inter_op_threads of at least 1, got 1.5"),
        ({"gpu_mem_limit_bytes": -1}, "expected gpu_mem_limit_bytes of at least 1, got -1"),
        ({"allow_tf32": "yes"}, "expected allow_tf32 of type bool, got 'yes'"),
        ({"cuda_graph": 1}, "expected cuda_graph of type bool, got 1"),
        ({"conv_search": "BEST"}, "expected conv_search among HEURISTIC, EXHAUSTIVE, DEFAULT, got 'BEST'"),
        ({"log_level": None}, "expected log_level among verbose, .*, got None"),
        ({"profile_prefix": None}, "expected profile_prefix of type str, got None"),
        ({"provider_options": ["device_type"]}, "expected provider_options of type Mapping"),
        ({"provider_options": {"a": 1}}, r"from text to text, got 'a': 1; pass 'a': '1'"),
        ({"provider_options": {"device_id": "1"}}, "got device_id; name the device as cuda:N"),
        ({"provider_options": {"enable_cuda_graph": "1"}}, "got enable_cuda_graph; set cuda_graph=True"),
    ],
)
def test_bad_settings_are_not_born(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SessionSettings(**fields)


def test_settings_take_text_for_choices_and_do_not_follow_a_callers_mapping() -> None:
    options = {"device_type": "GPU"}
    settings = SessionSettings(spinning="never", log_level="info", provider_options=options)  # type: ignore[arg-type]  # as from a file
    options["device_type"] = "NPU"
    assert settings.spinning is Spinning.NEVER
    assert settings.log_level is LogLevel.INFO
    assert settings.provider_options == {"device_type": "GPU"}
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_cuda_defaults_keep_full_float32_and_the_callers_options_win() -> None:
    assert provider_options(ON_CUDA, SessionSettings()) == {
        "device_id": "1",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }
    settings = SessionSettings(
        allow_tf32=True,
        conv_search=ConvSearch.EXHAUSTIVE,
        arena_extend=ArenaExtend.NEXT_POWER_OF_TWO,
        gpu_mem_limit_bytes=2**31,
        prefer_nhwc=True,
        cuda_graph=True,
        provider_options={"cudnn_conv_algo_search": "DEFAULT", "user_compute_stream": "4096"},
    )
    assert provider_options(ON_CUDA, settings) == {
        "device_id": "1",
        "use_tf32": "1",
        "cudnn_conv_algo_search": "DEFAULT",
        "arena_extend_strategy": "kNextPowerOfTwo",
        "gpu_mem_limit": "2147483648",
        "prefer_nhwc": "1",
        "enable_cuda_graph": "1",
        "user_compute_stream": "4096",
    }


def test_providers_stand_in_order() -> None:
    settings = SessionSettings(provider_options={"trt_fp16_enable": "1"})
    tensorrt, cuda, cpu = provider_list(Device(DeviceKind.TENSORRT, 2), settings)
    assert tensorrt == (TENSORRT, {"device_id": "2", "trt_fp16_enable": "1"})
    assert (cuda[0], cuda[1]["device_id"], cuda[1]["use_tf32"]) == (CUDA, "2", "0")
    assert "trt_fp16_enable" not in cuda[1]
    assert cpu == (CPU, {})
    assert [name for name, _ in provider_list(ON_CPU, SessionSettings())] == [CPU]
    assert [name for name, _ in provider_list(OPENVINO, SessionSettings())] == [OPENVINO.name, CPU]


@pytest.mark.parametrize("device", [ON_CPU, Device(DeviceKind.TENSORRT), OPENVINO])
def test_captured_graphs_are_for_cuda_alone(device: Device) -> None:
    with pytest.raises(InputError, match="expected device cuda for cuda_graph, got"):
        provider_options(device, SessionSettings(cuda_graph=True))


def entry(options: Any, key: str) -> str:
    try:
        found: str = (
            options.get_session_config_entry(key)
            if hasattr(options, "get_session_config_entry")
            else options.get_run_config_entry(key)
        )
    except RuntimeError:  # no such entry
        return ""
    return found


def test_settings_reach_onnxruntime() -> None:
    options = session_options(
        onnxruntime,
        SessionSettings(
            threads=3, inter_op_threads=2, spinning=Spinning.NEVER, prepacking=False, log_level=LogLevel.FATAL
        ),
    )
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert options.log_severity_level == 4
    assert entry(options, "session.disable_prepacking") == "1"
    assert entry(options, "session.intra_op.allow_spinning") == "0"
    assert not options.enable_profiling
    defaults = session_options(onnxruntime, SessionSettings())
    assert defaults.intra_op_num_threads == usable_cores().count
    assert defaults.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert defaults.log_severity_level == 3
    assert not defaults.enable_mem_pattern
    assert session_options(onnxruntime, SessionSettings(memory_patterns=True)).enable_mem_pattern
    assert entry(defaults, "session.disable_prepacking") == ""
    within = session_options(onnxruntime, SessionSettings(spinning=Spinning.WITHIN_RUN))
    assert entry(within, "session.force_spinning_stop") == "1"


def test_options_of_a_run() -> None:
    shrink, graph = "memory.enable_memory_arena_shrinkage", "gpu_graph_id"
    assert entry(run_options(ON_CPU), shrink) == entry(run_options(ON_CPU), graph) == ""
    assert entry(run_options(ON_CPU, shrink=True), shrink) == "cpu:0"
    assert entry(run_options(ON_CUDA, shrink=True), shrink) == "gpu:1;cpu:0"
    # Without a number, onnxruntime would capture the run as graph 0 where graphs are on.
    assert entry(run_options(ON_CUDA), graph) == str(NO_GRAPH)
    assert entry(run_options(ON_CUDA, graph=7), graph) == "7"
    with pytest.raises(InputError, match="expected a plain run for shrink, got captured graph 7"):
        run_options(ON_CUDA, shrink=True, graph=7)


def grower() -> bytes:
    """(N,) float32 in, (N, 1024) out by way of as much again."""
    ones = np.ones((1, 1024), np.float32)
    return encode_model(
        nodes=[
            encode_node("Mul", ["x", "w"], ["wide"]),
            encode_node("Exp", ["wide"], ["e"]),
            encode_node("Add", ["e", "wide"], ["y"]),
        ],
        inputs=[encode_value("x", "float32", ["N", 1])],
        outputs=[encode_value("y", "float32", ["N", 1024])],
        initializers=[encode_tensor("w", ones)],
    )


def test_shrinking_gives_memory_back() -> None:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("reads resident memory from /proc")
    session = open_session(grower(), ON_CPU, settings=SessionSettings(threads=1))

    def resident_mib(rows: int, *, shrink: bool) -> float:
        x = np.zeros((rows, 1), np.float32)
        session.run(["y"], {"x": x}, run_options(ON_CPU, shrink=shrink))
        return int(statm.read_text().split()[1]) * 4096 / 2**20

    resident_mib(1, shrink=False)
    held = resident_mib(20_000, shrink=False)  # 78 MiB for each of the values inside
    assert held - resident_mib(1, shrink=True) > 70


def test_a_model_may_come_as_bytes_text_or_path(toy_path: Path) -> None:
    x = {"x": np.zeros((2, 1), np.float32)}
    path = toy_path.with_name("grower.onnx")
    path.write_bytes(grower())
    for model in (grower(), path, str(path)):
        (y,) = open_session(model, ON_CPU, threads=1).run(None, x)
        assert y.tolist() == np.ones((2, 1024)).tolist()


def test_threads_are_started_as_asked_for() -> None:
    def running() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    if not Path("/proc/self/task").exists():
        pytest.skip("counts threads in /proc")
    before, kept = running(), []
    for threads in (1, 4):
        kept.append(open_session(grower(), ON_CPU, threads=threads))
    assert running() - before == 3, "the calling thread is one of them"
    del kept
    assert threading.active_count() >= 1


def test_the_profiler_writes_where_told(tmp_path: Path) -> None:
    settings = SessionSettings(threads=1, profile_prefix=str(tmp_path / "run"))
    session = open_session(grower(), ON_CPU, settings=settings)
    session.run(None, {"x": np.zeros((2, 1), np.float32)})
    written = Path(session.end_profiling())
    assert written.parent == tmp_path
    operators = {event.get("args", {}).get("op_name") for event in json.loads(written.read_text())}
    assert "Exp" in operators


class Uncapturable:
    """An onnxruntime whose sessions refuse to capture graphs, in the words of the CUDA provider's build."""

    __version__ = "1.31.1"
    SessionOptions = onnxruntime.SessionOptions
    ExecutionMode = onnxruntime.ExecutionMode

    def __init__(self, message: str) -> None:
        self._message = message

    def InferenceSession(self, *_: object, **__: object) -> None:
        raise RuntimeError(self._message)


def test_a_model_that_cannot_be_captured_is_told_from_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    words = (
        "This session cannot use the graph capture feature as requested by the user as all compute graph"
        " nodes have not been partitioned to the CUDAExecutionProvider"
    )
    settings = SessionSettings(cuda_graph=True)
    for message, kind in ((words, DeviceError), ("Protobuf parsing failed", RuntimeError)):
        monkeypatch.setitem(__import__("sys").modules, "onnxruntime", Uncapturable(message))
        with pytest.raises(kind, match=message[:20]):
            open_session(b"", ON_CUDA, settings=settings)


def test_unknown_providers_are_refused_by_name() -> None:
    with pytest.raises(
        DeviceError, match=r"got this onnxruntime knows only .*CPUExecutionProvider.*register"
    ):
        resolve("AcmeExecutionProvider")


def test_a_built_in_provider_has_no_second_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["AcmeExecutionProvider", CPU])
    with pytest.raises(DeviceError, match="got a built-in provider numbers no devices; pick the device by"):
        resolve("AcmeExecutionProvider:1")
