"""What can be set about a session, beyond the device it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nip_runtime.errors import InputError
from nip_runtime.support.arguments import check_whole

_OWNED_OPTIONS = {
    "device_id": "name the device as cuda:N",
    "enable_cuda_graph": "set cuda_graph=True",
    "trt_cuda_graph_enable": "leave it out: captured graphs are served on device cuda alone",
}


class ConvSearch(StrEnum):
    """How cuDNN picks the algorithm of a convolution."""

    HEURISTIC = "HEURISTIC"
    """By rule: quick, and the same from run to run."""
    EXHAUSTIVE = "EXHAUSTIVE"
    """By trying all, anew for every batch size."""
    DEFAULT = "DEFAULT"
    """One fixed algorithm."""


class ArenaExtend(StrEnum):
    """By how much the GPU's memory arena grows when it is full."""

    SAME_AS_REQUESTED = "kSameAsRequested"
    NEXT_POWER_OF_TWO = "kNextPowerOfTwo"


class Spinning(StrEnum):
    """What idle CPU threads do."""

    ALWAYS = "always"
    """Wait actively for the next run, onnxruntime's default: quickest for one session alone on its cores."""
    WITHIN_RUN = "within_run"
    """Wait actively inside a run only: for sessions that take turns on the same cores."""
    NEVER = "never"


class OnOutOfMemory(StrEnum):
    """What a session does when memory does not hold a run."""

    RAISE = "raise"
    """Raise an OutOfMemoryError; the session stays usable."""
    SPLIT = "split"
    """Halve the batch and try again, down to one row. Answers do not depend on it."""
    CPU = "cpu"
    """Answer this batch on the CPU, from a session opened when first needed; a warning is logged once."""


class LogLevel(StrEnum):
    """What onnxruntime itself writes to standard error."""

    VERBOSE = "verbose"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """How onnxruntime shall run a model.

    Args:
        threads: CPU threads that share one operator's work; None for `usable_cores`.
        inter_op_threads: branches of the graph computed side by side; 1 for one operator after the other.
        spinning: what idle CPU threads do.
        provider_options: further options of the device's execution provider, by onnxruntime's names; they win
            over what the fields below ask for.
        allow_tf32: lets CUDA round the factors of float32 products to 10 bits of mantissa. Off, because
            thresholds were calibrated in full float32: TF32 moves suspicions. TensorRT ignores this field and
            obeys the environment variable NVIDIA_TF32_OVERRIDE alone, for the whole process.
        conv_search: how cuDNN picks convolution algorithms.
        arena_extend: how the GPU's memory arena grows. Doubling can claim twice the memory needed.
        gpu_mem_limit_bytes: size limit of that arena; None for no limit. Libraries allocate beside it.
        prefer_nhwc: computes convolutions channels-last on CUDA. Only sensible for float16 models on tensor
            cores: float32 ones pay the transposes for nothing.
        cuda_graph: lets `DeviceRunner` capture a run per fixed batch size and replay it. Every node must run
            on CUDA, with no control flow and no shape that depends on data.
        prepacking: lets operators reorder their weights once, at opening: faster runs, more memory.
        memory_patterns: lets onnxruntime plan all memory of a run as one block, for every new shape. A few µs
            quicker per run of few rows, but under mixed batch sizes blocks pile up: 835 instead of 595 MiB on
            a MobileNetV2. For sessions that see one batch size only.
        on_out_of_memory: what `DefendedSession.predict` does when memory does not hold a run.
        log_level: of onnxruntime's own messages.
        profile_prefix: starts onnxruntime's profiler; it writes ``<prefix>_<time>.json`` at
            ``session.end_profiling()``. "" for none.

    Raises:
        InputError: for a bad field; says which.
    """

    threads: int | None = None
    inter_op_threads: int = 1
    spinning: Spinning = Spinning.ALWAYS
    provider_options: Mapping[str, str] = field(default_factory=dict)
    allow_tf32: bool = False
    conv_search: ConvSearch = ConvSearch.HEURISTIC
    arena_extend: ArenaExtend = ArenaExtend.SAME_AS_REQUESTED
    gpu_mem_limit_bytes: int | None = None
    prefer_nhwc: bool = False
    cuda_graph: bool = False
    prepacking: bool = True
    memory_patterns: bool = False
    on_out_of_memory: OnOutOfMemory = OnOutOfMemory.RAISE
    log_level: LogLevel = LogLevel.ERROR
    profile_prefix: str = ""

    def __post_init__(self) -> None:
        if self.threads is not None:
            check_whole("threads", self.threads)
        if self.gpu_mem_limit_bytes is not None:
            check_whole("gpu_mem_limit_bytes", self.gpu_mem_limit_bytes)
        check_whole("inter_op_threads", self.inter_op_threads)
        for name in ("allow_tf32", "prefer_nhwc", "cuda_graph", "prepacking", "memory_patterns"):
            _check_type(name, getattr(self, name), bool, "pass True or False")
        _check_type("profile_prefix", self.profile_prefix, str, 'pass the start of a path, or ""')
        self._take_choices()
        self._take_provider_options()

    def _take_choices(self) -> None:
        choices: tuple[tuple[str, type[StrEnum]], ...] = (
            ("spinning", Spinning),
            ("conv_search", ConvSearch),
            ("arena_extend", ArenaExtend),
            ("on_out_of_memory", OnOutOfMemory),
            ("log_level", LogLevel),
        )
        for name, kind in choices:
            value = getattr(self, name)
            if value not in tuple(kind):
                raise InputError.mismatch(
                    expected=f"{name} among {', '.join(kind)}", got=repr(value), fix="name one of these"
                )
            object.__setattr__(self, name, kind(value))

    def _take_provider_options(self) -> None:
        options = self.provider_options
        _check_type("provider_options", options, Mapping, 'pass a mapping such as {"device_type": "GPU"}')
        for key, value in options.items():
            if not all(isinstance(text, str) for text in (key, value)):
                raise InputError.mismatch(
                    expected="provider_options from text to text",
                    got=f"{key!r}: {value!r}",
                    fix=f"pass {str(key)!r}: {str(value)!r}",
                )
            if key in _OWNED_OPTIONS:
                raise InputError.mismatch(
                    expected="provider_options without what has a field of its own",
                    got=key,
                    fix=_OWNED_OPTIONS[key],
                )
        object.__setattr__(self, "provider_options", dict(options))  # a later change of theirs is not ours


def _check_type(name: str, value: object, kind: type, fix: str) -> None:
    if not isinstance(value, kind):
        raise InputError.mismatch(expected=f"{name} of type {kind.__name__}", got=repr(value), fix=fix)
