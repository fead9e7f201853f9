"""The rooms of the packages stand on floors, and no import runs up a flight of stairs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "nip_runtime": ROOT / "nip_runtime",
    "nip_export": ROOT / "export" / "nip_export",
    "nip_evaluate": ROOT / "export" / "nip_evaluate",
}
FLOORS = {
    "nip_runtime": (
        ("errors",),
        ("__init__",),
        ("support",),
        ("file",),
        ("result",),
        ("inputs", "run", "observe"),
        ("predicting", "stream"),
        ("session",),
        ("operate",),
        ("cli",),
    ),
    "nip_export": (
        ("__init__",),
        ("support",),
        ("data",),
        ("network",),
        ("defence",),
        ("config", "attach", "demo"),
        ("precision", "verify", "calibrate", "onnx_in"),
        ("fit",),
        ("write",),
        ("self_test",),
        ("pipeline",),
        ("commands",),
    ),
    "nip_evaluate": (
        ("__init__",),
        ("terms",),
        ("attacks", "baselines", "scoring"),
        ("adaptive", "query"),
        ("given",),
        ("report",),
        ("stages",),
        ("run",),
        ("demo",),
        ("commands",),
    ),
}
"""Every room, lowest floor first. Rooms of one floor know nothing of each other."""
PACKAGES = ("nip_runtime", "nip_export", "nip_evaluate")
"""The packages, lowest first: a package imports those before it."""
EXCEPTIONS = {("nip_export", "commands"): "nip_evaluate"}
"""`nip export --ui-examples` attacks the network, with the evaluation's attacks, when it is asked for."""
MOST_ROOMS = 12


def _imports(path: Path) -> Iterator[str]:
    """Modules that a file imports when it runs; those for type checkers alone are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_checkers: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for_checkers.update(inner for statement in node.body for inner in ast.walk(statement))
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            if node.module in PACKAGES:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _rooms(package: str) -> Iterator[tuple[str, Path]]:
    """Every module with the room that it is in: a folder, or a file of the first floor."""
    for path in sorted(FOLDERS[package].rglob("*.py")):
        yield path.relative_to(FOLDERS[package]).with_suffix("").parts[0], path


@pytest.mark.parametrize("package", FLOORS)
def test_no_import_runs_up_or_across(package: str) -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS[package]) for room in rooms}
    wrong, seen = [], 0
    for room, path in _rooms(package):
        for module in _imports(path):
            parts = module.split(".")
            if parts[0] != package or len(parts) == 1 or parts[1] == room:
                continue
            imported = parts[1] if parts[1] in floor else "__init__"
            seen += 1
            if imported != "__init__" and floor[imported] >= floor[room]:
                wrong.append(f"{path.relative_to(ROOT)} ({room}) imports {module}")
    assert seen > 50, "the check above saw next to nothing"
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", FLOORS)
def test_every_room_has_a_floor(package: str) -> None:
    assert {room for room, _ in _rooms(package)} == {room for rooms in FLOORS[package] for room in rooms}


def test_no_package_imports_a_higher_one() -> None:
    wrong = []
    for number, package in enumerate(PACKAGES):
        for room, path in _rooms(package):
            for module in _imports(path):
                top = module.split(".")[0]
                if top not in PACKAGES[number + 1 :] or EXCEPTIONS.get((package, room)) == top:
                    continue
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", ["nip_runtime", "nip_evaluate"])
def test_a_package_shows_a_dozen_rooms(package: str) -> None:
    rooms = {room for room, _ in _rooms(package)} - {"__init__"}
    assert len(rooms) <= MOST_ROOMS, sorted(rooms)
