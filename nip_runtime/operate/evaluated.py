"""What ``nip evaluate`` measured of a file, read from its own ``report.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nip_runtime.errors import InputError
from nip_runtime.file.container.wholefile import Wanted, read_whole
from nip_runtime.file.manifest import Manifest
from nip_runtime.file.rates import Rate
from nip_runtime.support.kinds import kind_of

ADAPTIVE: Final = "T4"
_MOST_BYTES: Final = 1 << 28
_FIX: Final = "evaluate this file with nip evaluate and pass the report.json that it writes"


@dataclass(frozen=True)
class WorstCase:
    """Accuracy under the worst of some attacks, chosen anew for every image.

    Attributes:
        threat: "T1" to "T4", what the attackers know.
        epsilon: largest change of an input value; None where attacks of all strengths count.
        attacks: how many attacks each image had to withstand.
        undefended: images that the bare network got right under all of them.
        defended: images that the file got right under all of them.
    """

    threat: str
    epsilon: float | None
    attacks: int
    undefended: Rate
    defended: Rate


def read_evaluated(path: Path, manifest: Manifest) -> tuple[WorstCase, ...]:
    """The worst cases of a report, per threat model and ε, in the report's order.

    Raises:
        InputError: it is no report, or the report of another file.
    """
    text = read_whole(path, _MOST_BYTES, Wanted(what="a report.json", fix=_FIX, error=InputError))
    try:
        report: Any = json.loads(text)
        digest = report["subject"]["graph_digest"]
        found = tuple(_worst_case(case) for case in report["worst_case"] if len(case["threats"]) == 1)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError.mismatch(
            expected=f"a report of nip evaluate at {path}",
            got=f"something else ({kind_of(text) or error})",
            fix=_FIX,
        ) from error
    if digest != manifest.digests.graph:
        raise InputError.mismatch(
            expected=f"the report of this file at {path}", got="that of another graph", fix=_FIX
        )
    return found


def _worst_case(case: dict[str, Any]) -> WorstCase:
    undefended, defended, epsilon = case["undefended"], case["defended"], case["epsilon"]
    return WorstCase(
        threat=str(case["threats"][0]),
        epsilon=None if epsilon is None else float(epsilon),
        attacks=int(case["attacks"]),
        undefended=Rate(undefended["count"], undefended["n"]),
        defended=Rate(defended["count"], defended["n"]),
    )
