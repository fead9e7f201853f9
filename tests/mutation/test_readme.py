"""The README's tables are those of what was found, and no survivor goes without a word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.mutation import found
from tests.mutation.found import Found, Mutant, Sample, Survivor
from tests.mutation.sample import MODULES, ROOT

README = Path(__file__).with_name("README.md")


def test_the_readme_holds_the_tables_of_the_kept_results() -> None:
    assert found.markdown(found.read(), found.reasons()) in README.read_text(encoding="utf-8")


def test_survivors_were_killed_since_or_are_explained() -> None:
    left = {one.mutant.key for each in found.read().samples for one in each.survivors if not one.killed_by}
    assert left == found.reasons().keys()


def test_the_samples_are_of_the_modules_and_tests_that_the_script_names() -> None:
    kept = {sample.module: sample.tests for sample in found.read().samples}
    assert kept == {module.name: module.tests for module in MODULES}
    named = [path for module in MODULES for path in (*module.files, *module.tests, *module.others)]
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    mutant = Mutant("a.py", 3, "core/AddNot", 1, "if a | b:", "if not a | b:")
    sample = Sample(
        "a",
        ("tests/a.py",),
        50,
        8,
        1,
        (Survivor(mutant), Survivor(mutant, "tests/a.py"), Survivor(mutant, "tests/b.py")),
    )
    written = Found(29, "2026-11-29", (sample, replace(sample, survivors=())))
    found.write(written, tmp_path / "results.json")
    assert found.read(tmp_path / "results.json") == written
    text = found.markdown(written, {mutant.key: "no matter"})
    assert "| a | `a.py` | 50 | 8 | 5 | 1 | 62% [31%, 86%] | 1 |" in text
    assert "| `a.py:3` | `if a \\| b:` → `if not a \\| b:` | no matter |" in text
    assert "killed since by a new test in `a.py` |" in text and "killed by `b.py` |" in text
    assert "not explained" not in text
    assert "not explained" in found.markdown(written, {})
