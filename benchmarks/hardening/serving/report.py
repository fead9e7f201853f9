"""The counts of a run, as one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.hardening.record import Count, Record
from benchmarks.hardening.serving.counts import Fate
from benchmarks.hardening.serving.environment import REQUIREMENTS
from benchmarks.hardening.serving.fleet import Kind, Protocol
from benchmarks.hardening.serving.stage import Stage
from benchmarks.hardening.serving.trials import Load, Stop, Wrong

STANDIN: Final = (
    "tritonserver 2.51 and tritonclient 2.73 of NVIDIA; a Python stand-in named onnxruntime runs the graph,"
    " for the C++ backend is not on PyPI: rates say nothing about that backend"
)
_NAMES: Final = {Protocol.HTTP: "HTTP", Protocol.GRPC: "gRPC"}


@dataclass(frozen=True)
class Tried:
    """All trials of one run."""

    loads: Mapping[Protocol, Load]
    wrong: Mapping[Protocol, Wrong]
    stops: Sequence[Stop]
    ignored: Sequence[Fate]


def record_of(tried: Tried, stage: Stage, *, command: str, size: Mapping[str, Any]) -> Record:
    """Counts first, the rest as details."""
    flagged = stage.expected["nip_flagged"][:, 0]
    rows_of = {kind.name.lower(): stage.images.kind == kind for kind in Kind}
    return Record(
        name="serving",
        command=command,
        counts=(
            *(count for protocol, load in tried.loads.items() for count in _load_counts(protocol, load)),
            *_wrong_counts(tried.wrong),
            *(count for protocol in tried.loads for count in _stop_counts(protocol, tried.stops)),
            *_ignored_counts(tried.ignored),
        ),
        details={
            "server": STANDIN,
            "size": dict(size),
            "different_rows": {kind: int(rows.sum()) for kind, rows in rows_of.items()},
            "flagged_of_them": {kind: int(flagged[rows].sum()) for kind, rows in rows_of.items()},
            "outcomes": {str(protocol): dict(load.outcomes) for protocol, load in tried.loads.items()},
            "unexpected": {str(protocol): wrong.unexpected for protocol, wrong in tried.wrong.items()},
            "stops": [
                {
                    "exit_code": stop.exit_code,
                    "seconds": round(stop.seconds, 2),
                    **{str(protocol): asdict(fate) for protocol, fate in stop.fates.items()},
                }
                for stop in tried.stops
            ],
            "ignored": [asdict(fate) for fate in tried.ignored],
            "packages": [
                line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")
            ],
        },
    )


def _load_counts(protocol: Protocol, load: Load) -> list[Count]:
    name, ran = _NAMES[protocol], load.ran
    return [
        _promised(f"requests of 16 clients answered over {name}", load.answered, of=load.sent),
        _none(f"of their rows, other bits than onnxruntime's over {name}", load.wrong_rows, of=load.rows),
        _promised(f"of these rows, run by Triton's own count over {name}", load.rows_by_server, of=load.rows),
        Count(
            what=f"server batches that mixed benign, attacked or broken requests over {name}",
            value=ran.mixed,
            of=ran.batches,
            wanted="some",
            met=ran.mixed > 0,
        ),
        Count(
            what=f"rows per server batch over {name}, by Triton's count",
            value=round(load.rows_by_server / load.batches_by_server, 2),
        ),
        Count(
            what=f"rate over {name}, stand-in backend",
            value=round(load.sent / load.seconds),
            unit="requests/s",
        ),
    ]


def _wrong_counts(wrong: Mapping[Protocol, Wrong]) -> list[Count]:
    tried = sum(each.tried for each in wrong.values())
    unexpected = sum(len(each.unexpected) for each in wrong.values())
    rows = sum(each.neighbours_wrong_rows + each.neighbours_unanswered for each in wrong.values())
    return [
        _promised("wrong requests refused with the cause", tried - unexpected, of=tried),
        _none(
            "requests beside them with other answers or none",
            rows,
            of=sum(each.neighbours for each in wrong.values()),
        ),
    ]


def _stop_counts(protocol: Protocol, stops: Sequence[Stop]) -> list[Count]:
    fates, name = [stop.fates[protocol] for stop in stops], _NAMES[protocol]
    sent, answered = sum(fate.sent for fate in fates), sum(fate.answered for fate in fates)
    refused = sum(fate.refused for fate in fates)
    return [
        Count(
            what=f"servers that SIGTERM stopped under load over {name}, exit code 0",
            value=sum(stop.exit_code == 0 for stop in stops),
            of=len(stops),
            wanted="all",
            met=all(stop.exit_code == 0 for stop in stops),
        ),
        Count(
            what=f"requests under way when the signal came over {name}",
            value=sum(fate.in_flight for fate in fates),
            wanted="some each time",
            met=all(fate.in_flight > 0 for fate in fates),
        ),
        Count(what=f"requests of these clients answered over {name}", value=answered, of=sent),
        Count(what=f"requests refused, as the server was stopping, over {name}", value=refused, of=sent),
        _none(f"accepted requests lost over {name}", sum(fate.unanswered for fate in fates), of=sent),
    ]


def _ignored_counts(fates: Sequence[Fate]) -> list[Count]:
    return [
        Count(
            what="requests cut off where HTTP clients go on until Triton's exit timeout (not promised)",
            value=sum(fate.unanswered for fate in fates),
            of=sum(fate.sent for fate in fates),
        ),
        Count(
            what="of these, run without the answer arriving",
            value=sum(fate.ran_unanswered for fate in fates),
        ),
    ]


def _none(what: str, value: int, *, of: int) -> Count:
    return Count(what=what, value=value, of=of, wanted="0", met=value == 0 < of)


def _promised(what: str, value: int, *, of: int) -> Count:
    return Count(what=what, value=value, of=of, wanted="all", met=value == of > 0)
