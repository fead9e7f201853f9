"""What is tried on a server: load, wrong requests beside it, and SIGTERM under it."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks.hardening.serving.counts import Batches, Fate, outcomes
from benchmarks.hardening.serving.fleet import Protocol
from benchmarks.hardening.serving.stage import Served, Stage

REFUSALS: Final = {
    "no batch axis": "Expected [-1,1,28,28], got [1,28,28]",
    "channels last": "Expected [-1,1,28,28], got [1,28,28,1]",
    "too small": "Expected [-1,1,28,28], got [1,1,28,27]",
    "float64": "data-type is 'FP64', but model 'model' expects 'FP32'",
    "uint8": "data-type is 'UINT8', but model 'model' expects 'FP32'",
    "no rows": "Expected 3136, got 0",
    "more rows than a batch": "batch-size must be <= 64",
    "another input": "unexpected inference input 'image'",
    "another model": "unknown model: 'nobody'",
}
"""Wrong requests of `client.py`, and what the server has to say of each."""
_STATUS: Final = {
    Protocol.HTTP: ("[400]", "[404]"),
    Protocol.GRPC: ("[StatusCode.INVALID_ARGUMENT]", "[StatusCode.NOT_FOUND]"),
}
_PATIENCE_S: Final = 120.0
_ENDLESS_S: Final = 60.0
"""Longer than any server takes to stop."""


@dataclass(frozen=True)
class Load:
    """What clients got.

    ``rows_by_server`` and ``batches_by_server`` are Triton's own statistics of the same time.
    """

    sent: int
    answered: int
    rows: int
    wrong_rows: int
    seconds: float
    ran: Batches
    rows_by_server: int
    batches_by_server: int
    largest_batch: int
    outcomes: Counter[str]


def load(served: Served, protocol: Protocol, *, seconds: float, prefix: str = "load") -> Load:
    """16 clients at once; each sends rows of one kind, so that a batch of several kinds joins strangers."""
    before = served.statistics()
    with served.fleet(protocol, prefix=f"{prefix}-{protocol}-", seconds=seconds) as fleet:
        requests = fleet.finish(seconds + _PATIENCE_S)
    after = served.statistics()
    return Load(
        sent=len(requests),
        answered=sum(request.is_answered for request in requests),
        rows=sum(len(request.rows) for request in requests),
        wrong_rows=sum(len(request.wrong) for request in requests),
        seconds=max(request.done for request in requests) - min(request.sent for request in requests),
        ran=Batches.of(served.server, requests, served.stage.images.kind),
        rows_by_server=after.rows - before.rows,
        batches_by_server=after.batches - before.batches,
        largest_batch=after.largest_batch,
        outcomes=outcomes(requests),
    )


@dataclass(frozen=True)
class Wrong:
    """Wrong requests by name that got another answer than they should, and what their neighbours got."""

    tried: int
    unexpected: dict[str, str]
    neighbours: int
    neighbours_unanswered: int
    neighbours_wrong_rows: int


def wrong_requests(served: Served, protocol: Protocol) -> Wrong:
    """Wrong requests, while other clients send right ones."""
    with served.fleet(protocol, prefix=f"beside-{protocol}-", clients=4, seconds=1.5) as fleet:
        answers = served.wrong(protocol)
        neighbours = fleet.finish(_PATIENCE_S)
    unexpected = {
        case: answers.get(case, "not sent")
        for case, words in REFUSALS.items()
        if not all(
            part in answers.get(case, "") for part in (words, _STATUS[protocol][case == "another model"])
        )
    }
    return Wrong(
        tried=len(answers),
        unexpected=unexpected,
        neighbours=len(neighbours),
        neighbours_unanswered=sum(not request.is_answered for request in neighbours),
        neighbours_wrong_rows=sum(len(request.wrong) for request in neighbours),
    )


@dataclass(frozen=True)
class Stop:
    """A server that got SIGTERM under load: its exit code, how long it took, and what its clients got."""

    exit_code: int
    seconds: float
    fates: dict[Protocol, Fate]


def stop_under_load(stage: Stage, *, number: signal.Signals = signal.SIGTERM, seed: int = 0) -> Stop:
    """HTTP clients stop when the server is not ready, as behind a load balancer; those over gRPC never do."""
    with stage.serve() as served, ExitStack() as stack:
        fleets = {
            protocol: stack.enter_context(
                served.fleet(
                    protocol,
                    prefix=f"stop-{protocol}-",
                    seconds=_ENDLESS_S,
                    watch=protocol is Protocol.HTTP,
                    seed=seed,
                )
            )
            for protocol in Protocol
        }
        # Not always at the same point of the load.
        time.sleep(0.8 + 0.05 * (seed % 10))
        signalled = time.monotonic()
        served.server.signal(number)
        code = served.server.wait()
        seconds = time.monotonic() - signalled
        fates = {
            protocol: Fate.of(served.server, fleet.finish(_PATIENCE_S), signalled)
            for protocol, fleet in fleets.items()
        }
    return Stop(code, seconds, fates)


def stop_ignored(stage: Stage, *, timeout_s: int, seed: int = 0) -> Fate:
    """HTTP clients that go on over connections that are open, beyond the time that Triton gives them."""
    with (
        stage.serve(f"--exit-timeout-secs={timeout_s}") as served,
        served.fleet(Protocol.HTTP, prefix="ignore-", seconds=_ENDLESS_S, seed=seed) as fleet,
    ):
        time.sleep(1)
        signalled = time.monotonic()
        served.server.signal(signal.SIGTERM)
        served.server.wait()
        return Fate.of(served.server, fleet.finish(_PATIENCE_S), signalled)
