"""A process that dies of a file, or does not start, is told; what engines found is kept as it was found."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.engines import browser
from benchmarks.engines.case import Case
from benchmarks.engines.compare import failed
from benchmarks.engines.engines import ENGINES, Asked, Engine, Host
from benchmarks.engines.job import BATCHES, TIMED
from benchmarks.engines.material import goldens
from benchmarks.engines.results import EngineResult, FileResult, judged, read, result, save
from benchmarks.engines.table import lines

REFERENCE = Engine(name="reference", host=Host.PYTHON, worker="reference", packages=())
DIES = """#!{python}
# Runs a worker, and dies as a crash in a library does when it comes to the file called BAD.
import os, signal, sys
worker, engine, job = sys.argv[1:]
sys.path.insert(0, os.path.dirname(worker))
import python_engines
whole = python_engines.answer
def answer(engine, job, case, folder):
    if "always" in case["name"]:
        os.kill(os.getpid(), signal.SIGFPE)
    return whole(engine, job, case, folder)
python_engines.answer = answer
python_engines.main(engine, job)
"""


SILENT = """#!{python}
import json, sys, time, urllib.request
from urllib.parse import urljoin
page = sys.argv[-1]
def say(**line):
    body = json.dumps(line).encode()
    urllib.request.urlopen(urllib.request.Request(urljoin(page, "/said"), body, method="POST")).close()
job = json.load(urllib.request.urlopen(urljoin(page, "/job/job.json")))
say(version="1", threads=1, isolated=True)
for case in job["cases"]:
    say(begun=case["name"])
    if "always" in case["name"]:
        time.sleep(60)
    say(name=case["name"], error="no", batches={{}}, times={{}})
say(done=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Three small ones: the second kills :data:`DIES`."""
    found = {case.name: case for case in goldens()}
    return [found[f"golden {name}"] for name in ("detect-1.2", "always-1.2", "guarded-1.2")]


def script(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(text.format(python=sys.executable))
    path.chmod(0o755)
    return path


def test_files_after_one_that_kills_the_process_are_answered(cases: list[Case], tmp_path: Path) -> None:
    asked = Asked(REFERENCE, script(tmp_path, DIES))
    found = [judged(case, answered) for case, answered in asked.answers(cases)]
    assert [file.name for file in found] == [case.name for case in cases]
    assert [file.problem for file in found] == ["", "the process died: signal SIGFPE", ""]
    assert asked.version


def test_an_engine_that_does_not_start_says_why(cases: list[Case], tmp_path: Path) -> None:
    broken = script(tmp_path, "#!{python}\nraise SystemExit('no such library')\n")
    with pytest.raises(
        RuntimeError, match="reference does not start: the process died: exit code 1; no such library"
    ):
        list(Asked(REFERENCE, broken).answers(cases))


def test_files_after_one_of_which_a_page_falls_silent_are_answered(
    cases: list[Case], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The browser is a script that says to the page's address what a page would, then no more."""
    (tmp_path / "chromium").write_text(SILENT.format(python=sys.executable))
    (tmp_path / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(browser, "SILENCE_S", 3)
    asked = Asked(Engine(name="web", host=Host.BROWSER, packages=()), tmp_path)
    found = [judged(case, answered).problem for case, answered in asked.answers(cases)]
    assert found == ["no", "the page said nothing for 3 s", "no"]
    assert asked.version == "1"


def test_times_are_taken_in_pairs(cases: list[Case]) -> None:
    ((case, answered),) = Asked(REFERENCE, Path(sys.executable)).answers(cases[:1], rounds=2)
    assert {batch: len(pairs) for batch, pairs in answered.pairs.items()} == dict.fromkeys(TIMED, 2)
    assert judged(case, answered).ratios.keys() == set(TIMED)


def test_results_are_read_as_they_were_written(cases: list[Case], tmp_path: Path) -> None:
    verdicts = {batch: failed(cases[0], "no such operator") for batch in BATCHES}
    found = result(
        "OpenVINO", "1", ("openvino==1",), [FileResult(name="a", verdicts=verdicts, ratios={1: 1.5})]
    )
    again = read(save(found, "openvino", tmp_path))
    assert isinstance(again, EngineResult)
    assert (again.name, again.files, again.cores) == (found.name, found.files, found.cores)


def test_problems_are_said_once(cases: list[Case]) -> None:
    bad, good = failed(cases[0], "no"), failed(cases[0], "")
    everywhere = FileResult(name="a", verdicts=dict.fromkeys(BATCHES, bad), ratios={})
    assert everywhere.problem == "no"
    once = FileResult(name="a", verdicts={1: good, 3: bad, 17: good}, ratios={})
    assert once.problem == "at batch 3: no"


def test_the_table_counts_files_and_says_why_others_do_not_run(cases: list[Case]) -> None:
    good = {batch: replace(failed(cases[0], ""), labels=0, flags=0, logit_error=0.25) for batch in BATCHES}
    files = [FileResult(name="a", verdicts=good, ratios={17: 1.5})]
    files += [
        FileResult(name=n, verdicts=dict.fromkeys(BATCHES, failed(cases[0], "no `X`")), ratios={})
        for n in "bc"
    ]
    calm = replace(result("OpenVINO", "2026.4-abc", (), files), load=0.0, cores=2)
    text = "\n".join(lines([calm]))
    rows = 3 * good[1].rows
    assert f"| OpenVINO 2026.4 | 1 of 3 | {rows} (" in text
    assert "| 0, 0 | 0.25 | 1.5 (1.5–1.5) |" in text
    why = "can't compute MaxPool on no rows; with a padding row it runs them"
    assert f"- OpenVINO, 2 of 3 files: {why}. Seen: 2 × `no 'X'`" in text
    assert "busy with other work" not in text
    busy = "\n".join(lines([replace(calm, load=9.0)]))
    assert "**The machine was busy with other work for OpenVINO: their times are rough.**" in busy
    unknown = replace(calm, name="onnxruntime-node")
    assert "onnxruntime-node, 2 of 3 files: **not known before**" in "\n".join(lines([unknown]))


def test_every_engine_has_a_name_of_its_own_and_pinned_packages() -> None:
    assert len({engine.slug for engine in ENGINES}) == len(ENGINES)
    for engine in ENGINES:
        assert all("==" in package or "@" in package for package in engine.packages)
        assert (engine.host is Host.PYTHON) == bool(engine.worker)
