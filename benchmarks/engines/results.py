"""What the matrix found, one JSON file per engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.engines.case import Case
from benchmarks.engines.compare import Verdict, compare, failed
from benchmarks.engines.job import BATCHES, Answered
from nip_runtime.operate.bench.machine import describe
from nip_runtime.support.writing import write_whole

RESULTS: Final = Path(__file__).resolve().parents[1] / "results" / "engines"


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """One file in one engine.

    Attributes:
        name: of the file.
        verdicts: by batch size.
        ratios: by batch size, the defended file's least time to the plain one's, of rounds in turn.
    """

    name: str
    verdicts: Mapping[int, Verdict]
    ratios: Mapping[int, float]

    @property
    def problem(self) -> str:
        """What is wrong with it, the same words once; "" if nothing is."""
        batches: dict[str, list[int]] = {}
        for batch, verdict in self.verdicts.items():
            if verdict.problem:
                batches.setdefault(verdict.problem, []).append(batch)
        if [*batches.values()] == [[*self.verdicts]]:
            return next(iter(batches))
        return "; ".join(
            f"at batch {', '.join(map(str, sizes))}: {problem}" for problem, sizes in batches.items()
        )


@dataclass(frozen=True, kw_only=True)
class EngineResult:
    """One engine.

    Attributes:
        name: of the engine.
        version: as it says it itself.
        packages: that it was installed from.
        files: what each file gave.
        load: of the machine when it began; None where the system does not tell.
        cores: of the machine.
        system: operating system and kernel.
    """

    name: str
    version: str
    packages: Sequence[str]
    files: Sequence[FileResult]
    load: float | None
    cores: int
    system: str


def judged(case: Case, answered: Answered) -> FileResult:
    """Compare what an engine answered."""
    verdicts = {}
    for batch in BATCHES:
        problem = answered.error or answered.errors.get(batch, "")
        if problem or batch not in answered.parts:
            verdicts[batch] = failed(case, _one_line(problem or "no answer"))
        else:
            verdicts[batch] = compare(case, batch, answered.parts[batch])
    # Least times, not medians: they hold up where others are at work on the machine.
    ratios = {
        batch: round(min(d for d, _ in pairs) / min(p for _, p in pairs), 3)
        for batch, pairs in answered.pairs.items()
    }
    return FileResult(name=case.name, verdicts=verdicts, ratios=ratios)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:297]}..."


def result(name: str, version: str, packages: Sequence[str], files: Sequence[FileResult]) -> EngineResult:
    """An engine's files with the machine they were run on."""
    machine = describe()
    return EngineResult(
        name=name,
        version=version,
        packages=packages,
        files=files,
        load=machine.load,
        cores=machine.cores,
        system=machine.system,
    )


def save(found: EngineResult, slug: str, folder: Path = RESULTS) -> Path:
    """Write one engine's file; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug}.json"
    # No infinities in JSON: what could not be compared has no error.
    content = json.dumps(_finite(asdict(found)), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, f"{content}\n".encode())
    return path


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float):
        return None if value == float("inf") else float(f"{value:.3g}")
    return value


def read(path: Path) -> EngineResult:
    """An engine's file, read again."""
    content = json.loads(path.read_text(encoding="utf-8"))
    files = [
        FileResult(
            name=entry["name"],
            verdicts={int(batch): _verdict(found) for batch, found in entry["verdicts"].items()},
            ratios={int(batch): ratio for batch, ratio in entry["ratios"].items()},
        )
        for entry in content.pop("files")
    ]
    return EngineResult(**content, files=files)


def _verdict(found: dict[str, Any]) -> Verdict:
    nothing = float("inf")
    numbers: dict[str, Any] = {key: nothing if value is None else value for key, value in found.items()}
    return Verdict(**numbers)
