"""What the page says that the defence does not stop: the T4 number out of the file's own ``report.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nip_runtime.errors import InputError
from nip_runtime.file.container.wholefile import Wanted, read_whole
from nip_runtime.file.manifest import Manifest
from nip_runtime.file.rates import Rate

_MOST_BYTES: Final = 1 << 28
_FIX: Final = "evaluate this file with nip evaluate and pass the report.json that it writes"
_ADAPTIVE: Final = "T4"


@dataclass(frozen=True)
class Measured:
    """What is left of the accuracy when attackers know the defence.

    Attributes:
        epsilon: largest change of a pixel.
        attacks: how many adaptive attacks each image had to withstand.
        right: images that withstood all of them.
    """

    epsilon: float
    attacks: int
    right: Rate


def read_measured(path: Path, manifest: Manifest) -> tuple[Measured, ...]:
    """The adaptive results of a report, smallest ε first; none if it was evaluated without adaptive attacks.

    Raises:
        InputError: it is no report, or the report of another file.
    """
    text = read_whole(path, _MOST_BYTES, Wanted(what="a report.json", fix=_FIX, error=InputError))
    try:
        report: Any = json.loads(text)
        digest = report["subject"]["graph_digest"]
        found = [_measured(case) for case in report["worst_case"] if case["threats"] == [_ADAPTIVE]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError.mismatch(
            expected=f"a report of nip evaluate at {path}", got=f"something else ({error})", fix=_FIX
        ) from error
    if digest != manifest.digests.graph:
        raise InputError.mismatch(
            expected=f"the report of this file at {path}", got="that of another graph", fix=_FIX
        )
    return tuple(sorted((each for each in found if each is not None), key=lambda each: each.epsilon))


def _measured(case: dict[str, Any]) -> Measured | None:
    if case["epsilon"] is None:
        return None
    defended = case["defended"]
    return Measured(float(case["epsilon"]), int(case["attacks"]), Rate(defended["count"], defended["n"]))
