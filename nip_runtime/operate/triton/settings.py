"""What can be chosen about serving a defended file with Triton."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from nip_runtime.errors import InputError
from nip_runtime.support.arguments import check_whole

MAX_DELAY_US: Final = 10_000_000
"""Ten seconds: more is a slip of the unit, not a wish."""
MAX_BATCH: Final = 65_536
MAX_THREADS: Final = 1024
_INSTANCES: Final = re.compile(
    r"cpu(?::(?P<count>\d{1,4}))?|gpu(?::(?P<gpus>\d{1,4}(?:,\d{1,4})*))?(?:x(?P<each>\d{1,4}))?"
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class InstanceKind(StrEnum):
    """Where copies of the model run, as Triton's configuration spells it."""

    CPU = "KIND_CPU"
    GPU = "KIND_GPU"


class GraphOptimisation(StrEnum):
    """How much onnxruntime rewrites the graph when Triton loads it."""

    ALL = "all"
    """Everything, the backend's default."""
    EXTENDED = "extended"
    """Basic ones and fusions."""
    BASIC = "basic"
    """Those that keep the meaning of every node."""
    OFF = "off"

    @property
    def level(self) -> int | None:
        """The backend's number for it; None for its default."""
        return {"extended": 1, "basic": -1, "off": 2}.get(self.value)


@dataclass(frozen=True, kw_only=True)
class Instances:
    """Copies of the model that a server keeps.

    Args:
        kind: on CPU or GPUs.
        count: copies, on each GPU if there are several.
        gpus: indices of the GPUs; empty for every one that the server sees, and on the CPU.

    Raises:
        ValueError: a field has no meaning.
    """

    kind: InstanceKind = InstanceKind.CPU
    count: int = 1
    gpus: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count: expected at least 1, got {self.count}")
        if self.gpus and self.kind is InstanceKind.CPU:
            raise ValueError(f"gpus: expected none on the CPU, got {self.gpus}")
        if len(set(self.gpus)) != len(self.gpus) or min(self.gpus, default=0) < 0:
            raise ValueError(f"gpus: expected different indices from 0, got {self.gpus}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``cpu``, ``cpu:2`` (copies), ``gpu`` (each of them), ``gpu:0,1`` or ``gpu:0,1x2`` (copies).

        Raises:
            InputError: for anything else.
        """
        found = _INSTANCES.fullmatch(text)
        try:
            if found is None:
                raise ValueError("not of this form")
            gpus = tuple(int(index) for index in (found["gpus"] or "").split(",") if index)
            kind = InstanceKind.CPU if text.startswith("cpu") else InstanceKind.GPU
            return cls(kind=kind, count=int(found["count"] or found["each"] or 1), gpus=gpus)
        except ValueError as error:
            raise InputError.mismatch(
                expected="instances such as cpu:2 (two on the CPU), gpu:0 (one on GPU 0) or gpu:0,1x2 (two on"
                " each)",
                got=repr(text),
                fix="write one of these forms",
            ) from error


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """How Triton shall serve a file.

    Args:
        max_batch: rows of one run; Triton joins waiting requests up to it and refuses larger ones.
        delay_us: how long Triton may hold a request back to join it with others, in microseconds.
        instances: copies of the model, and where they run.
        threads: CPU threads that share one operator's work; None for the backend's default, all cores for
            every copy.
        optimisation: how much onnxruntime rewrites the graph.

    Raises:
        InputError: a field has no meaning.
    """

    max_batch: int = 64
    delay_us: int = 500
    instances: Instances = Instances()
    threads: int | None = None
    optimisation: GraphOptimisation = GraphOptimisation.ALL

    def __post_init__(self) -> None:
        check_whole("max_batch", self.max_batch, most=MAX_BATCH)
        check_whole("delay_us", self.delay_us, least=0, most=MAX_DELAY_US)
        if self.threads is not None:
            check_whole("threads", self.threads, most=MAX_THREADS)


def check_name(name: str) -> str:
    """Return the name of a model if it can be a folder's and stand in an address.

    Raises:
        InputError: if it can't.
    """
    if _NAME.fullmatch(name) is None:
        raise InputError.mismatch(
            expected="a model name that starts with a letter or digit; dot, dash and underscore may follow",
            got=repr(name),
            fix="choose another with --name",
        )
    return name
