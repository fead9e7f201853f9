"""What a command imports is what its extra brings: on a machine that has everything, nobody would notice."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from nip_runtime.support import dependencies

ROOT: Final = Path(__file__).parents[2]
OURS: Final = {
    "nip_runtime": ROOT / "nip_runtime",
    "nip_export": ROOT / "export" / "nip_export",
    "nip_evaluate": ROOT / "export" / "nip_evaluate",
}
WITHOUT_EXTRA: Final = {"numpy"}
EVAL: Final = {module for module, extras in dependencies._EXTRAS.items() if extras == ("eval",)}


def _file(module: str) -> Path | None:
    """Where one of our modules lies."""
    top, *parts = module.split(".")
    if top not in OURS:
        return None
    path = OURS[top].joinpath(*parts)
    return next((each for each in (path / "__init__.py", path.with_suffix(".py")) if each.is_file()), None)


@cache
def _imports(path: Path) -> frozenset[str]:
    """What a file may import when it runs, inside functions too; what is for type checkers is left out."""
    return frozenset(_walk(ast.parse(path.read_text(encoding="utf-8"))))


def _walk(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)


def _foreign(paths: Iterable[Path]) -> set[str]:
    """Top-level modules of others that these files import."""
    tops = {module.partition(".")[0] for path in paths for module in _imports(path)}
    return tops - OURS.keys() - sys.stdlib_module_names


def _reached(*modules: str) -> set[Path]:
    """Our files that run when these modules, and all that they import, are used."""
    found: set[Path] = set()
    queue = list(modules)
    while queue:
        module = queue.pop()
        parts = module.split(".")
        for above in (".".join(parts[:count]) for count in range(1, len(parts) + 1)):
            path = _file(above)
            if path is not None and path not in found:
                found.add(path)
                queue.extend(_imports(path))
    return found


@pytest.mark.parametrize("package", OURS)
def test_every_optional_module_has_an_extra_to_name_when_it_is_missing(package: str) -> None:
    unnamed = _foreign(OURS[package].rglob("*.py")) - WITHOUT_EXTRA - dependencies._EXTRAS.keys()
    assert unnamed == set(), (
        "name the extra in nip_runtime/support/dependencies.py: else users are told the wrong thing"
    )


def test_exporting_needs_nothing_of_the_evaluations_extra() -> None:
    """`--ui-examples` included: it borrows attacks from nip_evaluate, but none of foolbox or ART."""
    reached = _reached("nip_export.commands.export")
    assert OURS["nip_evaluate"] / "report" / "ui_examples.py" in reached and "torch" in _foreign(reached)
    assert {module: _who(module, reached) for module in EVAL & _foreign(reached)} == {}


def test_the_check_above_can_fail() -> None:
    assert _foreign(_reached("nip_evaluate.commands.evaluate")) >= {"art", "foolbox"}


def _who(module: str, paths: Iterable[Path]) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in paths if module in _foreign([path]))
