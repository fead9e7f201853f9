"""Where the time goes, by onnxruntime's own profiler: pass 1, heads, pass 2, and between operators.

The profiler slows small operators down by some microseconds each. It tells which operators the time of a
missed target goes to; how much it is in all is told by the paired rounds.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import onnxruntime

from benchmarks.speed.files import SpeedFiles
from benchmarks.speed.networks import Images, Name
from benchmarks.speed.results import RESULTS
from benchmarks.speed.sessions import Session, plain_run
from benchmarks.speed.targets import State
from nip_runtime.file.manifest import Policy
from nip_runtime.file.names import SECOND_PASS
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.fused import FusedEngine
from nip_runtime.run.engine.gated import GatedEngine
from nip_runtime.run.runners.host import HostRunner
from nip_runtime.support.writing import write_whole

RUNS: Final = 5
WARM_UP: Final = 1
Provider = str | tuple[str, dict[str, str]]
ON_CPU: Final = ("CPUExecutionProvider",)
_SUFFIX: Final = "_kernel_time"
_OPENING: Final = frozenset({"model_loading_array", "model_loading_uri", "session_initialization"})


class Section(StrEnum):
    """Which part of the work an operator belongs to."""

    PASS_1 = "pass 1"
    HEADS = "heads"
    PASS_2 = "pass 2"
    INSERTED = "made by onnxruntime"
    """Operators that its optimiser made: fusions, changes of layout. Their names do not tell the pass."""
    BETWEEN = "between operators"
    """What the executor's time is longer than its operators': scheduling, allocation, the profiler."""


@dataclass(frozen=True)
class Part:
    """Milliseconds that one kind of operator took in one section."""

    section: Section
    operator: str
    nodes: int
    ms: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One way to answer one batch, in parts.

    Attributes:
        variant: "plain", or engine and state.
        batch: rows.
        second_pass_rows: of them.
        total_ms: of all runs of sessions that one answer takes.
        parts: what the total consists of, the largest first. All are of one and the same answer, the
            quickest of some, for that is the one that nothing interrupted.
        sessions: of onnxruntime that the variant opens.
        opening_ms: what onnxruntime took to read the models and set up the sessions, all together.
    """

    variant: str
    batch: int
    second_pass_rows: int
    total_ms: float
    parts: tuple[Part, ...]
    sessions: int
    opening_ms: float

    def ms(self, section: Section) -> float:
        """Milliseconds of a section."""
        return sum(part.ms for part in self.parts if part.section is section)

    @property
    def operators(self) -> int:
        """How many operators ran."""
        return sum(part.nodes for part in self.parts if part.section is not Section.BETWEEN)

    def largest(self, section: Section, count: int) -> tuple[Part, ...]:
        """The costliest operators of a section."""
        return tuple(part for part in self.parts if part.section is section)[:count]


Key = tuple[Section, str]
RunTimes = dict[Key, list[float]]
"""Microseconds of every node of one run, by section and operator."""


def section_of(node: str, operator: str, outputs: frozenset[str]) -> Section:
    """The section of a node, by the name that the export or onnxruntime's optimiser gave it."""
    if node.startswith(SECOND_PASS):
        return Section.PASS_2
    if node.startswith("nip") or node in outputs:
        return Section.HEADS
    made = re.fullmatch(rf"{operator}(_token_\d+)?", node)
    return Section.INSERTED if made else Section.PASS_1


class Profiled:
    """Opens sessions that profile themselves, and collects what they found."""

    def __init__(
        self, folder: Path, *, outputs: frozenset[str], providers: Sequence[Provider] = ON_CPU
    ) -> None:
        self._folder, self._outputs, self._providers = folder, outputs, list(providers)
        self._sessions: list[Session] = []
        self.opening_us = 0.0

    @property
    def sessions(self) -> int:
        """How many were opened."""
        return len(self._sessions)

    def open(self, model: bytes) -> Session:
        """An onnxruntime session, profiling; on one thread where it computes on the CPU."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(self._folder / f"session{len(self._sessions)}")
        session = onnxruntime.InferenceSession(model, options, providers=self._providers)
        self._sessions.append(session)
        return session

    def answers(self, count: int) -> list[RunTimes]:
        """End profiling; what each of `count` equal answers took over all sessions."""
        found: list[RunTimes] = [defaultdict(list) for _ in range(count)]
        for session in self._sessions:
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            self.opening_us += sum(event["dur"] for event in events if event["name"] in _OPENING)
            runs = self._runs(events)
            share = len(runs) // count
            for place, run in enumerate(runs):
                for key, times in run.items():
                    section, operator = key
                    # A session of one pass that runs twice per answer does the second pass the second time.
                    again = place % share == 1 and section is Section.PASS_1 if share else False
                    found[place // share][Section.PASS_2 if again else section, operator] += times
        return found

    def _runs(self, events: Sequence[Mapping[str, Any]]) -> list[RunTimes]:
        runs = [event for event in events if event["name"] == "model_run"]
        nodes = [e for e in events if e["cat"] == "Node" and e["name"].endswith(_SUFFIX)]
        return [self._run(run, nodes) for run in runs]

    def _run(self, run: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> RunTimes:
        times: RunTimes = defaultdict(list)
        start, stop = run["ts"], run["ts"] + run["dur"]
        inside = [node for node in nodes if start <= node["ts"] < stop]
        for node in inside:
            name, operator = node["name"].removesuffix(_SUFFIX), node["args"]["op_name"]
            times[section_of(name, operator, self._outputs), operator].append(float(node["dur"]))
        times[Section.BETWEEN, ""].append(float(run["dur"]) - sum(float(node["dur"]) for node in inside))
        return times


def profile(
    variant: str,
    batch: int,
    rows: int,
    make_run: Callable[[Callable[[bytes], Session]], Callable[[], object]],
    outputs: frozenset[str],
    *,
    providers: Sequence[Provider] = ON_CPU,
) -> Profile:
    """Profile one way to answer.

    Args:
        variant: what it is called.
        batch: rows of the batch.
        rows: of them, in the second pass.
        make_run: given what opens sessions, gives what answers the batch once.
        outputs: names of the graph's outputs: nodes that compute them carry their names.
        providers: of onnxruntime, in its words.
    """
    with tempfile.TemporaryDirectory(prefix="nip-profile-") as folder:
        profiled = Profiled(Path(folder), outputs=outputs, providers=providers)
        run = make_run(profiled.open)
        for _ in range(WARM_UP + RUNS):
            run()
        answers = profiled.answers(WARM_UP + RUNS)[WARM_UP:]
    chosen = min(answers, key=_total_us)
    parts = [
        Part(section, operator, len(times), sum(times) / 1e3) for (section, operator), times in chosen.items()
    ]
    return Profile(
        variant=variant,
        batch=batch,
        second_pass_rows=rows,
        total_ms=_total_us(chosen) / 1e3,
        parts=tuple(sorted(parts, key=lambda part: -part.ms)),
        sessions=profiled.sessions,
        opening_ms=profiled.opening_us / 1e3,
    )


def _total_us(answer: RunTimes) -> float:
    return sum(sum(times) for times in answer.values())


def profile_network(files: SpeedFiles, batch: int) -> tuple[Profile, ...]:
    """Plain, then every engine and state."""

    def plain(open_session: Callable[[bytes], Session]) -> Callable[[], object]:
        run, images = plain_run(open_session(files.plain.read_bytes())), files.pool.batch(batch, 0)
        return lambda: run(images)

    found = [profile("plain", batch, 0, plain, frozenset())]
    for state in State:
        if not state.timed_at(batch):
            continue
        rows = state.second_pass_rows(batch, files.screen_rate)
        policy = Policy.ALWAYS if state is State.ALWAYS else Policy.GUARDED
        images = files.pool.batch(batch, 0 if state is State.ALWAYS else rows)
        outputs = frozenset([files.reports[policy].manifest.output.name])
        for engine in (EngineKind.FUSED, EngineKind.GATED):
            make_run = _engine_run(files, policy, engine, images)
            found.append(profile(f"{engine} {state}", batch, rows, make_run, outputs))
    return tuple(found)


def _engine_run(
    files: SpeedFiles, policy: Policy, engine: EngineKind, images: Images
) -> Callable[[Callable[[bytes], Session]], Callable[[], object]]:
    content, manifest = files.path(policy).read_bytes(), files.reports[policy].manifest
    runner = HostRunner()

    def make_run(open_session: Callable[[bytes], Session]) -> Callable[[], object]:
        if engine is EngineKind.FUSED:
            fused = FusedEngine(content, manifest, open_session=open_session, runner=runner)
            return lambda: fused.run(images)
        gated = GatedEngine(
            Sliceable(content),
            manifest,
            open_backbone=open_session,
            open_heads=open_session,
            runner=runner,
        )
        return lambda: gated.run(images)

    return make_run


def write(network: Name, profiles: Sequence[Profile], folder: Path = RESULTS) -> Path:
    """Write profiles under their network's name."""
    path = folder / f"profile-{network}.json"
    content = {"network": network, "profiles": [asdict(found) for found in profiles]}
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def read(network: Name, folder: Path = RESULTS) -> tuple[Profile, ...]:
    """Read what :func:`write` wrote; empty if there is none."""
    path = folder / f"profile-{network}.json"
    if not path.exists():
        return ()
    return tuple(_profile(raw) for raw in json.loads(path.read_text(encoding="utf-8"))["profiles"])


def _profile(raw: dict[str, Any]) -> Profile:
    parts = tuple(Part(**part | {"section": Section(part["section"])}) for part in raw["parts"])
    return Profile(**raw | {"parts": parts})
