"""What one run measured of one network, and its JSON form; one file per network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.speed.contenders import Kind
from benchmarks.speed.networks import NETWORKS, Name
from benchmarks.speed.targets import State
from nip_runtime.file.manifest import Policy
from nip_runtime.operate.bench.machine import Machine
from nip_runtime.operate.bench.rounds import Latency, Spread
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.support.writing import write_whole

RESULTS: Final = Path(__file__).resolve().parent.parent / "results" / "speed"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A defended file beside one plain pass of the same batch.

    Attributes:
        batch: rows.
        threads: CPU threads for one run.
        state: what the defence had to do.
        engine: how it was executed.
        second_pass_rows: rows that took the second pass.
        ratio: to the plain pass.
        latency: of the whole answer.
    """

    batch: int
    threads: int
    state: State
    engine: EngineKind
    second_pass_rows: int
    ratio: Spread
    latency: Latency


@dataclass(frozen=True, kw_only=True)
class PlainCell:
    """One plain onnxruntime pass."""

    batch: int
    threads: int
    latency: Latency


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What opening a file costs a fresh process.

    Attributes:
        file: "plain", or a policy.
        engine: how it was opened; None for the plain file.
        added_bytes: resident memory that opening added.
        memory_ratio: that against the plain file's.
        opening_ms: time to open.
        opening_ratio: that against the plain file's.
    """

    file: str
    engine: EngineKind | None
    added_bytes: int
    memory_ratio: float
    opening_ms: Spread
    opening_ratio: Spread


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Bytes on disk."""

    plain: int
    guarded: int
    always: int
    guarded_bank: int
    always_bank: int


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """What ``DefendedSession.predict`` adds to a raw ``session.run`` of the same file, one calm row.

    Attributes:
        added_us: microseconds.
        input_bytes: of the one image; checking its values is part of what is added.
    """

    added_us: Spread
    input_bytes: int


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A contender beside the defended file.

    Attributes:
        kind: which.
        policy: of the defence that a twin computes; None where it is another defence.
        batch: rows.
        latency: of the contender.
        to_plain: its time as a multiple of one plain pass.
        speedup: its time as a multiple of the file's, by what the file had to do: how many times faster the
            file is.
    """

    kind: Kind
    policy: Policy | None
    batch: int
    latency: Latency
    to_plain: Spread
    speedup: dict[State, Spread]


@dataclass(frozen=True)
class Choice:
    """The engine that ``auto`` took, and why."""

    engine: EngineKind
    why: str


@dataclass(frozen=True, kw_only=True)
class NetworkResult:
    """Everything measured of one network in one run. ``auto`` tells which engine a session takes by itself
    for the file of each policy, and why; ``screen_rate`` the share of its benign images that the ``guarded``
    file screens, None where that state was not measured yet."""

    network: Name
    parameters: int
    quick: bool
    commit: str
    created: str
    machine: Machine
    packages: dict[str, str]
    sizes: Sizes
    plain: tuple[PlainCell, ...]
    cells: tuple[Cell, ...]
    opened: tuple[Opened, ...]
    overhead: Overhead
    bank_share: Spread | None
    auto: dict[Policy, Choice]
    rivals: tuple[Rival, ...]
    screen_rate: float | None = None

    def cell(self, state: State, batch: int, engine: EngineKind, *, threads: int = 1) -> Cell | None:
        """The measurement of one combination, None where there is none."""
        for cell in self.cells:
            if (cell.state, cell.batch, cell.engine, cell.threads) == (state, batch, engine, threads):
                return cell
        return None


def write(result: NetworkResult, folder: Path = RESULTS) -> Path:
    """Write a result under its network's name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.network}.json"
    write_whole(path, (json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n").encode())
    return path


def read(path: Path) -> NetworkResult:
    """Read what :func:`write` wrote."""
    return _result(json.loads(path.read_text(encoding="utf-8")))


def read_all(folder: Path = RESULTS) -> tuple[NetworkResult, ...]:
    """All results that a folder holds, in the order of the networks."""
    paths = [folder / f"{name}.json" for name in NETWORKS]
    return tuple(read(path) for path in paths if path.exists())


def _result(raw: dict[str, Any]) -> NetworkResult:
    return NetworkResult(
        network=Name(raw["network"]),
        parameters=raw["parameters"],
        quick=raw["quick"],
        commit=raw["commit"],
        created=raw["created"],
        machine=Machine(**raw["machine"]),
        packages=raw["packages"],
        sizes=Sizes(**raw["sizes"]),
        plain=tuple(PlainCell(**cell | {"latency": Latency(**cell["latency"])}) for cell in raw["plain"]),
        cells=tuple(_cell(cell) for cell in raw["cells"]),
        opened=tuple(_opened(entry) for entry in raw["opened"]),
        overhead=Overhead(**raw["overhead"] | {"added_us": Spread(**raw["overhead"]["added_us"])}),
        bank_share=_spread(raw["bank_share"]),
        auto={
            Policy(policy): Choice(EngineKind(choice["engine"]), choice["why"])
            for policy, choice in raw["auto"].items()
        },
        rivals=tuple(_rival(rival) for rival in raw["rivals"]),
        screen_rate=raw.get("screen_rate"),
    )


def _spread(raw: dict[str, float] | None) -> Spread | None:
    return None if raw is None else Spread(**raw)


def _cell(raw: dict[str, Any]) -> Cell:
    return Cell(
        batch=raw["batch"],
        threads=raw["threads"],
        state=State(raw["state"]),
        engine=EngineKind(raw["engine"]),
        second_pass_rows=raw["second_pass_rows"],
        ratio=Spread(**raw["ratio"]),
        latency=Latency(**raw["latency"]),
    )


def _opened(raw: dict[str, Any]) -> Opened:
    return Opened(
        file=raw["file"],
        engine=None if raw["engine"] is None else EngineKind(raw["engine"]),
        added_bytes=raw["added_bytes"],
        memory_ratio=raw["memory_ratio"],
        opening_ms=Spread(**raw["opening_ms"]),
        opening_ratio=Spread(**raw["opening_ratio"]),
    )


def _rival(raw: dict[str, Any]) -> Rival:
    return Rival(
        kind=Kind(raw["kind"]),
        policy=None if raw["policy"] is None else Policy(raw["policy"]),
        batch=raw["batch"],
        latency=Latency(**raw["latency"]),
        to_plain=Spread(**raw["to_plain"]),
        speedup={State(state): Spread(**found) for state, found in raw["speedup"].items()},
    )


def commits(results: Sequence[NetworkResult]) -> str:
    """The commits that results were made with."""
    return ", ".join(sorted({result.commit for result in results}))
