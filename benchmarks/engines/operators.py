"""Which operators each engine has, as it says itself, of those that a defended file may be made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nip_runtime.file.container import read_container

OPERATORS: Final = Path(__file__).resolve().parent / "operators.json"


@dataclass(frozen=True, kw_only=True)
class Known:
    """What one engine knows.

    Attributes:
        source: where it stands.
        operators: of the standard domain, at opset 17.
        misread: operators among them that it computes otherwise than the standard says, and how.
    """

    source: str
    operators: frozenset[str]
    misread: Mapping[str, str]


def read_known(path: Path = OPERATORS) -> dict[str, Known]:
    """Every engine's, by its name."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: Known(
            source=entry["source"],
            operators=frozenset(entry["operators"].split()),
            misread=entry["misread"],
        )
        for name, entry in content.items()
    }


def obstacles(model: Path, known: Known) -> list[str]:
    """Operators of a file that an engine lacks or misreads, in words."""
    used = read_container(model).operators
    lacks = [f"{name}: not there" for name in sorted(used) if name not in known.operators]
    return lacks + [f"{name}: {known.misread[name]}" for name in sorted(used) if name in known.misread]
