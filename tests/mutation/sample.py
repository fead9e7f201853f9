"""Draws mutants of the modules that matter most, and counts those that the tests notice.

    pip install cosmic-ray==8.7.0
    python -m tests.mutation.sample --seed 29 --each 20     # draw, and keep what was found
    python -m tests.mutation.sample --again                 # the survivors kept, against the present tests
    python -m tests.mutation.sample --tables                # the README's tables, from what is kept

cosmic-ray makes the mutants. They run in a copy of the tree; the tree itself is never changed.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Final

from tests.mutation import found
from tests.mutation.found import Found, Mutant, Sample, Survivor

ROOT: Final = Path(__file__).parents[2]
VERSION: Final = "8.7.0"
_MEMORY_BYTES: Final = 12 << 30
"""Address space of a test run: a mutant may ask for any amount."""
_LEFT_OUT: Final = re.compile(
    r"core/(RemoveDecorator|ReplaceBinaryOperator_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(Bit\w+|[LR]Shift))$"
)
"""Without ``@dataclass`` nothing runs, without ``@cached_property`` all is the same, only slower; and what is
added, multiplied … are mostly floats, which know no bits: any test at all would fail."""


@dataclass(frozen=True)
class Module:
    """What is mutated, and the tests that are to notice it.

    Attributes:
        name: in the tables.
        files: drawn from together.
        tests: run against every mutant, those that fail soonest first.
        others: tried on survivors by ``--again``: they use the module too, but take longer or mean others.
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    others: tuple[str, ...] = ()


_EXPORT: Final = "export/nip_export"
_CONTAINER: Final = "nip_runtime/file/container"
MODULES: Final = (
    Module(
        "gate",
        (f"{_EXPORT}/calibrate/gate.py",),
        ("tests/maths/test_gate.py", "tests/maths/test_grain.py", "tests/maths/test_calibrate.py"),
        ("tests/maths/test_typicality.py", "tests/maths/test_verdict.py"),
    ),
    Module(
        "decision",
        (f"{_EXPORT}/defence/decision.py",),
        ("tests/maths/test_decision.py", "tests/maths/test_oracle.py", "tests/maths/test_grain.py"),
        ("tests/maths/test_gate.py", "tests/maths/test_typicality.py"),
    ),
    Module(
        "statistics",
        (f"{_EXPORT}/defence/statistics.py",),
        ("tests/maths/test_oracle.py", "tests/maths/test_decision.py", "tests/maths/test_gate.py"),
        ("tests/maths/test_typicality.py",),
    ),
    Module(
        "oracle",
        (f"{_EXPORT}/verify/oracle.py",),
        ("tests/maths/test_oracle.py", "tests/maths/test_bank.py"),
    ),
    Module("view", (f"{_EXPORT}/calibrate/view.py",), ("tests/maths/test_choose_view.py",)),
    Module(
        "cut and parts",
        ("nip_runtime/run/engine/cut.py", "nip_runtime/run/engine/parts.py"),
        ("tests/engine/test_cut.py", "tests/engine/test_engines.py"),
    ),
    Module(
        "reader",
        tuple(f"{_CONTAINER}/{name}.py" for name in ("reader", "graph", "wire")),
        (
            "tests/runtime/test_wire.py",
            "tests/runtime/test_messages.py",
            "tests/runtime/test_container.py",
        ),
        (
            "tests/runtime/test_artifact.py",
            "tests/abuse/files/test_profile.py",
            "tests/abuse/files/test_bad_files.py",
        ),
    ),
)


class Outcome(Enum):
    """What the tests said of a mutant."""

    PASSED = "survived"
    FAILED = "killed"
    TIMED_OUT = "timed out"


@dataclass(frozen=True)
class Place:
    """Where cosmic-ray can change a file."""

    file: str
    line: int
    operator: str
    occurrence: int


def places(file: str) -> list[Place]:
    """All mutants of a file, without those that are left out."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    source = (ROOT / file).read_text(encoding="utf-8")
    skipped, nodes = list(_skipped(ast.parse(source))), list(ast_nodes(get_ast(source)))
    made: list[Place] = []
    for name in sorted(plugins.operator_names()):
        kind = plugins.get_operator(name)
        if _LEFT_OUT.match(name) or kind.arguments():
            continue
        operator = kind()
        positions = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, start in enumerate(positions):
            if not any(first <= tuple(start) < last for first, last in skipped):
                made.append(Place(file, start[0], name, occurrence))
    return made


def _skipped(tree: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where stand annotations, decorators and errors raised, with their texts."""
    for node in ast.walk(tree):
        spans: list[ast.AST | None] = []
        match node:
            case ast.FunctionDef():
                spans = [*node.decorator_list, node.returns]
            case ast.ClassDef():
                spans = [*node.decorator_list]
            case ast.arg() | ast.AnnAssign():
                spans = [node.annotation]
            case ast.Raise():
                spans = [node]
        for span in spans:
            if isinstance(span, ast.expr | ast.stmt) and span.end_lineno and span.end_col_offset:
                yield (span.lineno, span.col_offset), (span.end_lineno, span.end_col_offset)


def mutated(place: Place) -> tuple[Mutant, str] | None:
    """A mutant and the file's new text; None if it is no Python, or the same program."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    source = (ROOT / place.file).read_text(encoding="utf-8")
    text = mutate_code(source, plugins.get_operator(place.operator)(), place.occurrence)
    try:
        if text is None or ast.dump(ast.parse(text)) == ast.dump(ast.parse(source)):
            return None
    except SyntaxError:
        return None
    before, after = _changed(source.splitlines(), text.splitlines())
    return Mutant(place.file, place.line, place.operator, place.occurrence, before, after), text


def _changed(old: list[str], new: list[str]) -> tuple[str, str]:
    """The lines that differ, of both."""
    same = min(len(old), len(new))
    first = next((at for at in range(same) if old[at] != new[at]), same)
    tail = next((at for at in range(same - first) if old[-1 - at] != new[-1 - at]), same - first)
    return tuple(" ".join(map(str.strip, lines[first : len(lines) - tail])) for lines in (old, new))  # type: ignore[return-value]


class Copy:
    """A copy of the tree, in which one file at a time is changed and tests are run."""

    def __init__(self, folder: Path) -> None:
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in filter(None, files.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self._folder = folder

    def try_out(self, file: str, text: str, tests: tuple[str, ...], limit_s: float) -> Outcome:
        """Run tests while `file` reads `text`."""
        path = self._folder / file
        path.write_text(text, encoding="utf-8")
        try:
            return self.run(tests, limit_s, bytecode=False)
        finally:
            shutil.copy2(ROOT / file, path)  # with its old time, so that compiled files fit again

    def run(self, tests: tuple[str, ...], limit_s: float, *, bytecode: bool = True) -> Outcome:
        """Run tests; `bytecode`: keep compiled files for later runs, which a changed file must not."""
        shutil.rmtree(self._folder / ".hypothesis", ignore_errors=True)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
        command += ["-m", "not slow", "--hypothesis-seed=0", *tests]
        paths = os.pathsep.join((str(self._folder), str(self._folder / "export")))
        settings = {
            "PYTHONPATH": paths,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "" if bytecode else "1",
        }
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_bounded,
            )
            try:
                return Outcome.FAILED if process.wait(limit_s) else Outcome.PASSED
            except subprocess.TimeoutExpired:
                return Outcome.TIMED_OUT
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def draw(module: Module, copy: Copy, *, seed: int, each: int) -> Sample:
    """Draw `each` mutants of a module, or all there are, and run its tests against them."""
    limit_s = _limit_s(module.name, module.tests, copy)
    everything = [place for file in module.files for place in places(file)]
    random.Random(f"{seed} {module.name}").shuffle(everything)
    made = (one for one in map(mutated, everything) if one is not None)
    outcomes: list[tuple[Mutant, Outcome]] = []
    for (mutant, text), _ in zip(made, range(each), strict=False):
        outcomes.append((mutant, copy.try_out(mutant.file, text, module.tests, limit_s)))
        _tell(mutant, outcomes[-1][1])
    return Sample(
        module=module.name,
        tests=module.tests,
        mutants=len(everything),
        drawn=len(outcomes),
        timed_out=sum(outcome is Outcome.TIMED_OUT for _, outcome in outcomes),
        survivors=tuple(Survivor(mutant) for mutant, outcome in outcomes if outcome is Outcome.PASSED),
    )


def again(sample: Sample, copy: Copy) -> Sample:
    """Try a sample's survivors against the present tests.

    Raises:
        SystemExit: a file has changed so that a survivor is not found in it.
    """
    module = next(one for one in MODULES if one.name == sample.module)
    tests = (*module.tests, *module.others)
    limit_s = _limit_s(module.name, tests, copy) if sample.survivors else 0.0
    survivors: list[Survivor] = []
    for mutant in (survivor.mutant for survivor in sample.survivors):
        made = mutated(Place(mutant.file, mutant.line, mutant.operator, mutant.occurrence))
        if made is None or made[0].key != mutant.key:
            raise SystemExit(f"expected {mutant.key}; the file has changed since: draw anew")
        tried = ((copy.try_out(mutant.file, made[1], (test,), limit_s), test) for test in tests)
        outcome, killed_by = next(
            (one for one in tried if one[0] is not Outcome.PASSED), (Outcome.PASSED, "")
        )
        _tell(mutant, outcome)
        survivors.append(Survivor(made[0], killed_by))
    return replace(sample, survivors=tuple(survivors))


def _limit_s(name: str, tests: tuple[str, ...], copy: Copy) -> float:
    """How long a mutant's tests may take: far longer than they take unchanged, which must pass."""
    print(f"{name}: the tests on the unchanged module", flush=True)
    copy.run(tests, 600)  # compiles
    started = time.perf_counter()
    if copy.run(tests, 600) is not Outcome.PASSED:
        raise SystemExit(f"expected {' '.join(tests)} to pass unchanged, and they do not")
    return 20 + 4 * (time.perf_counter() - started)


def _tell(mutant: Mutant, outcome: Outcome) -> None:
    print(f"  {outcome.value:9} {mutant.file}:{mutant.line} {mutant.before} → {mutant.after}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.sample", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, default=29)
    parser.add_argument("--each", type=int, default=20, help="mutants drawn of each module (default 20)")
    parser.add_argument(
        "--only", choices=[one.name for one in MODULES], help="one module; the others stay as they are"
    )
    parser.add_argument("--again", action="store_true", help="the survivors kept, against the present tests")
    parser.add_argument(
        "--tables", action="store_true", help="print the tables of what is kept, draw nothing"
    )
    options = parser.parse_args()
    if not options.tables:
        _check_installed()
        with tempfile.TemporaryDirectory() as folder:
            copy = Copy(Path(folder))
            if options.again:
                kept = found.read()
                found.write(replace(kept, samples=tuple(again(one, copy) for one in kept.samples)))
            else:
                chosen = [one for one in MODULES if options.only in (None, one.name)]
                for module in chosen:
                    _keep(draw(module, copy, seed=options.seed, each=options.each), options.seed)
    print(found.markdown(found.read(), found.reasons()), end="")


def _keep(sample: Sample, seed: int) -> None:
    """Put a sample in its module's place among those kept; those of another seed go."""
    kept = found.read().samples if found.RESULTS.exists() and found.read().seed == seed else ()
    samples = {one.module: one for one in (*kept, sample)}
    in_order = tuple(samples[module.name] for module in MODULES if module.name in samples)
    found.write(Found(seed, date.today().isoformat(), in_order))


def _check_installed() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        got = version("cosmic-ray")
    except PackageNotFoundError:
        got = "none"
    if got != VERSION:
        raise SystemExit(f"expected cosmic-ray {VERSION}, got {got}; pip install cosmic-ray=={VERSION}")


if __name__ == "__main__":
    main()
