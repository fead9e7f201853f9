"""Puts settings into onnxruntime's words: session options, provider options, options of one run."""

from __future__ import annotations

from typing import Any, Final

from nip_runtime.errors import InputError
from nip_runtime.run.providers.device import CPU, CUDA, Device, DeviceKind
from nip_runtime.run.providers.settings import LogLevel, SessionSettings, Spinning
from nip_runtime.run.providers.threads import usable_cores
from nip_runtime.support.dependencies import load

NO_GRAPH: Final = -1
"""Graph number of a run that neither captures nor replays, on a session that can."""

_SHRINK: Final = "memory.enable_memory_arena_shrinkage"
_GRAPH: Final = "gpu_graph_id"


def session_options(ort: Any, settings: SessionSettings) -> Any:
    """An onnxruntime.SessionOptions that says what ``settings`` say."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads or usable_cores().count
    options.inter_op_num_threads = settings.inter_op_threads
    if settings.inter_op_threads > 1:  # without this mode onnxruntime starts the threads and never uses them
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.log_severity_level = list(LogLevel).index(settings.log_level)
    if settings.spinning is Spinning.WITHIN_RUN:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    elif settings.spinning is Spinning.NEVER:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.enable_mem_pattern = settings.memory_patterns
    if not settings.prepacking:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if settings.profile_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = settings.profile_prefix
    return options


def provider_options(device: Device, settings: SessionSettings) -> dict[str, str]:
    """Options of the device's own execution provider.

    Source: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html

    Raises:
        InputError: if ``settings`` ask for captured graphs on another device than CUDA.
    """
    if settings.cuda_graph and device.kind is not DeviceKind.CUDA:
        raise InputError.mismatch(
            expected="device cuda for cuda_graph", got=str(device), fix="leave cuda_graph out"
        )
    if device.kind is DeviceKind.CUDA:
        return {**_cuda_options(device.index, settings), **settings.provider_options}
    if device.kind is DeviceKind.TENSORRT:
        return {"device_id": str(device.index), **settings.provider_options}
    return dict(settings.provider_options)


def provider_list(device: Device, settings: SessionSettings) -> list[tuple[str, dict[str, str]]]:
    """Execution providers of a session on ``device``, the wanted one first."""
    wanted = [(device.provider, provider_options(device, settings))]
    if device.kind is DeviceKind.TENSORRT:  # what TensorRT has no kernel for stays on the GPU
        wanted.append((CUDA, _cuda_options(device.index, settings)))
    if device.kind is not DeviceKind.CPU:
        wanted.append((CPU, {}))  # shape arithmetic and the like stay on the host
    return wanted


def run_options(device: Device, *, shrink: bool = False, graph: int = NO_GRAPH) -> Any:
    """An onnxruntime.RunOptions for one run.

    Args:
        device: of the session.
        shrink: gives free chunks of the memory arenas back to the system at the end of the run: for the last
            run of a burst, or after a large batch. Not for captured graphs, whose addresses are fixed.
        graph: number of the captured graph to make or replay, from 1; `NO_GRAPH` for a plain run.

    Raises:
        InputError: if a captured graph shall shrink the arena that it lives in.
    """
    options = load("onnxruntime").RunOptions()
    if shrink and graph != NO_GRAPH:
        raise InputError.mismatch(
            expected="a plain run for shrink", got=f"captured graph {graph}", fix="leave one of the two out"
        )
    if shrink:
        arenas = [f"gpu:{device.index}"] if device.memory == "cuda" else []
        options.add_run_config_entry(_SHRINK, ";".join([*arenas, "cpu:0"]))
    if device.kind is DeviceKind.CUDA or graph != NO_GRAPH:
        options.add_run_config_entry(_GRAPH, str(graph))
    return options


def _cuda_options(index: int, settings: SessionSettings) -> dict[str, str]:
    options = {
        "device_id": str(index),
        "use_tf32": "1" if settings.allow_tf32 else "0",
        "cudnn_conv_algo_search": str(settings.conv_search),
        "arena_extend_strategy": str(settings.arena_extend),
    }
    if settings.gpu_mem_limit_bytes is not None:
        options["gpu_mem_limit"] = str(settings.gpu_mem_limit_bytes)
    if settings.prefer_nhwc:
        options["prefer_nhwc"] = "1"
    if settings.cuda_graph:
        options["enable_cuda_graph"] = "1"
    return options
