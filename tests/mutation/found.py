"""What the samples of mutants found: kept as JSON, shown as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from nip_runtime.file.rates import Rate

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results.json"
LEFT: Final = HERE / "left.json"
"""Why survivors are left, by :attr:`Mutant.key`: written by hand."""


@dataclass(frozen=True)
class Mutant:
    """A changed place: file and line, cosmic-ray's operator and occurrence, the lines before and after."""

    file: str
    line: int
    operator: str
    occurrence: int
    before: str
    after: str

    @property
    def key(self) -> str:
        """File and change, which other lines moving does not alter."""
        return f"{self.file}: {self.before} → {self.after}"


@dataclass(frozen=True)
class Survivor:
    """A mutant that the tests passed; the file whose tests fail on it now, empty if none that was tried."""

    mutant: Mutant
    killed_by: str = ""


@dataclass(frozen=True)
class Sample:
    """A module's drawn mutants.

    Attributes:
        module: its name here.
        tests: what was run against each, as given to pytest.
        mutants: that could have been drawn.
        drawn: at random, without putting back.
        timed_out: of the killed, those whose tests did not end in time.
        survivors: all that were not killed.
    """

    module: str
    tests: tuple[str, ...]
    mutants: int
    drawn: int
    timed_out: int
    survivors: tuple[Survivor, ...]

    @property
    def killed(self) -> Rate:
        """Of the drawn ones, by the tests as they were then."""
        return Rate(self.drawn - len(self.survivors), self.drawn)

    @property
    def left(self) -> int:
        """Survivors that no test tried fails on."""
        return sum(not survivor.killed_by for survivor in self.survivors)


@dataclass(frozen=True)
class Found:
    """All samples of a seed, and the day they were drawn on."""

    seed: int
    day: str
    samples: tuple[Sample, ...]


def write(found: Found, path: Path = RESULTS) -> None:
    """Keep samples as JSON, with the shares spelled out."""
    stored = asdict(found)
    for sample, kept in zip(found.samples, stored["samples"], strict=True):
        low, high = sample.killed.interval
        kept["killed"] = {"count": sample.killed.count, "share": sample.killed.value, "wilson95": [low, high]}
    path.write_text(json.dumps(stored, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path = RESULTS) -> Found:
    """Samples as they were written."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Found(stored["seed"], stored["day"], tuple(_sample(each) for each in stored["samples"]))


def _sample(stored: Mapping[str, Any]) -> Sample:
    survivors = tuple(Survivor(Mutant(**each["mutant"]), each["killed_by"]) for each in stored["survivors"])
    counts = (stored["mutants"], stored["drawn"], stored["timed_out"])
    return Sample(stored["module"], tuple(stored["tests"]), *counts, survivors)


def reasons(path: Path = LEFT) -> dict[str, str]:
    """Why survivors are left, by key."""
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return known


def markdown(found: Found, why: Mapping[str, str]) -> str:
    """Both tables of the README: the shares, and the survivors."""
    return "\n".join((*_shares(found), "", *_survivors(found, why))) + "\n"


def _shares(found: Found) -> Iterator[str]:
    yield f"Seed {found.seed}, {found.day}:"
    yield ""
    yield from _rows(
        (
            "module",
            "tests run",
            "mutants",
            "drawn",
            "killed",
            "of them timed out",
            "share killed, 95 % interval",
            "left now",
        )
    )
    for one in found.samples:
        low, high = one.killed.interval
        tests = ", ".join(f"`{test.removeprefix('tests/')}`" for test in one.tests)
        share = f"{one.killed.value:.0%} [{low:.0%}, {high:.0%}]"
        counts = (one.mutants, one.drawn, one.killed.count, one.timed_out)
        yield _row((one.module, tests, *map(str, counts), share, str(one.left)))


def _survivors(found: Found, why: Mapping[str, str]) -> Iterator[str]:
    yield from _rows(("survivor", "change", "what became of it"))
    for sample in found.samples:
        for one in sample.survivors:
            mutant, fate = one.mutant, why.get(one.mutant.key, "**not explained**")
            if one.killed_by:
                which = "killed since by a new test in" if one.killed_by in sample.tests else "killed by"
                fate = f"{which} `{one.killed_by.removeprefix('tests/')}`"
            change = f"`{mutant.before}` → `{mutant.after}`".replace("|", "\\|")
            yield _row((f"`{mutant.file}:{mutant.line}`", change, fate))


def _rows(heads: Iterable[str]) -> Iterator[str]:
    yield _row(tuple(heads))
    yield _row(tuple("---" for _ in heads))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
