"""What a run found, row by row, and its JSON form: one file per step, rewritten whole with every row."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.gpu.plan import Step
from benchmarks.speed.targets import State
from nip_runtime.operate.bench.rounds import Latency, Spread
from nip_runtime.support.writing import write_whole

RESULTS: Final = Path(__file__).resolve().parents[1] / "results" / "gpu"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a process of a run ended.

    Attributes:
        name: of the step, and of the network if it has one each.
        limit_s: it had.
        seconds: it took.
        problem: "" if it ended well; else why not, with the last lines it wrote.
    """

    name: str
    limit_s: float
    seconds: float
    problem: str


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run was made with.

    Attributes:
        date: UTC.
        plan, device: asked for.
        gpu, driver: as the driver names them; "" on a CPU.
        cpu, cores, system: of the host.
        versions: of packages.
        commit: that made the parts.
        left_out: what the parts do not hold, and why.
    """

    date: str
    plan: str
    device: str
    gpu: str
    driver: str
    cpu: str
    cores: int
    system: str
    versions: dict[str, str]
    commit: str
    left_out: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that either holds or does not."""

    name: str
    expected: str
    got: str
    held: bool


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A file's answers on the device beside the CPU's.

    Attributes:
        network, precision, engine: which.
        rows: that were compared.
        tolerance: of logits, as a share of the largest, and of suspicions.
        largest_difference: of logits, as that share.
        labels_differ: rows with another label.
        labels_excused: of these, rows whose two best logits, or whose suspicion and threshold, lie within it.
        flags_differ: rows with another flag.
        flags_excused: of these, rows whose suspicion lies within the tolerance of the threshold.
    """

    network: str
    precision: str
    engine: str
    rows: int
    tolerance: float
    largest_difference: float
    labels_differ: int
    labels_excused: int
    flags_differ: int
    flags_excused: int

    @property
    def held(self) -> bool:
        """Whether the device answers as the CPU does."""
        return (
            self.largest_difference <= self.tolerance
            and self.labels_differ == self.labels_excused
            and self.flags_differ == self.flags_excused
        )


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One way to answer one batch.

    Attributes:
        network, precision, batch: of what.
        way: "plain", "fused", "gated", or "graphed": gated with a captured graph.
        state: what the defence had to do; None of the plain file.
        source: "host" for numpy in and out, "device" for tensors that stay there.
        latency: of the whole answer.
        ratio: to the plain file from the same source, in the same rounds.
    """

    network: str
    precision: str
    batch: int
    way: str
    state: State | None
    source: str
    latency: Latency
    ratio: Spread


@dataclass(frozen=True, kw_only=True)
class Held:
    """Memory that a file holds.

    Attributes:
        network, precision, way: of what.
        opened_bytes: on the card, or resident on a CPU, after opening and one row.
        largest_bytes: after its largest batch.
        largest_batch: rows.
    """

    network: str
    precision: str
    way: str
    opened_bytes: int
    largest_bytes: int
    largest_batch: int


@dataclass(frozen=True, kw_only=True)
class Rival:
    """PyTorch computing the same defence on the same device, both passes for every row, host to answer.

    Attributes:
        network, batch: of what.
        kind: "eager" or "compiled".
        latency: of the whole answer.
        to_calm, to_all: its time as a multiple of the file's, no row and every row in the second pass.
    """

    network: str
    batch: int
    kind: str
    latency: Latency
    to_calm: Spread
    to_all: Spread


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What could not be measured, and why."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """Where onnxruntime's profiler finds the time of an answer that misses its target.

    Attributes:
        network, precision, batch, way, state: of what; "plain" has no state.
        total_ms: of all runs of sessions.
        sections_ms: first pass, heads, second pass and so on.
        operators: the costliest, in words.
    """

    network: str
    precision: str
    batch: int
    way: str
    state: State | None
    total_ms: float
    sections_ms: dict[str, float]
    operators: tuple[str, ...]


Row = Outcome | Setting | Check | Compared | Timed | Held | Rival | Missing | Profiled
KINDS: Final = {
    kind.__name__: kind for kind in (Outcome, Setting, Check, Compared, Timed, Held, Rival, Missing, Profiled)
}
R = TypeVar("R", bound=Row)
FILES: Final = ("steps", *(step for step in Step if step is not Step.INSTALL))
"""Stems of the files; with the log eight, which is as many as come back."""


class Book:
    """Rows of one step in a file that is whole at every moment.

    Args:
        folder: of the run's results.
        stem: of the file.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self.path = folder / f"{stem}.json"
        self._rows: list[Row] = list(read(self.path))

    def add(self, *rows: Row) -> None:
        """Append, and write the file anew."""
        self._rows += rows
        raw = [{"row": type(row).__name__} | asdict(row) for row in self._rows]
        text = json.dumps({"rows": raw}, indent=1, ensure_ascii=False) + "\n"
        write_whole(self.path, text.encode())


def read(path: Path) -> tuple[Row, ...]:
    """Rows of one file; none if it does not exist."""
    if not path.exists():
        return ()
    return tuple(_row(raw) for raw in json.loads(path.read_text(encoding="utf-8"))["rows"])


def read_all(folder: Path = RESULTS) -> tuple[Row, ...]:
    """Rows of all files in a folder, step by step."""
    return tuple(row for stem in FILES for row in read(folder / f"{stem}.json"))


def of_kind(rows: Iterable[Row], kind: type[R]) -> tuple[R, ...]:
    """Rows of one kind."""
    return tuple(row for row in rows if isinstance(row, kind))


def _row(raw: dict[str, Any]) -> Row:
    kind: Any = KINDS[raw.pop("row")]
    for key, value in raw.items():
        if key == "latency":
            raw[key] = Latency(**value)
        elif key in ("ratio", "to_calm", "to_all"):
            raw[key] = Spread(**value)
        elif key == "state" and value is not None:
            raw[key] = State(value)
        elif key == "operators":
            raw[key] = tuple(value)
    row: Row = kind(**raw)
    return row
