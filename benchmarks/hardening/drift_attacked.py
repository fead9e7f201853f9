"""A drift watch over the embedded example's traffic: benign images with a share of attacked ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.hardening.drift_simulated import ALPHA, ROWS, Advance, Delay, Flags, rows_until_alarm
from nip_evaluate.attacks import catalogue, run_attack
from nip_evaluate.given.target import open_target
from nip_export.data import to_model_input
from nip_export.demo.example import Example
from nip_runtime.file.rates import Rate
from nip_runtime.observe import AuditFile, Counters, DriftWatch, Expected, Totals, compose
from nip_runtime.session import DefendedSession

CALL = 8
LIVE_ROWS = 2000


@dataclass(frozen=True, eq=False, kw_only=True)
class Traffic:
    """Images as they come, and what the file's gate says of each.

    Attributes:
        benign: (N, 1, H, W) float32, test images, those that the model gets wrong among them.
        attacked: (M, 1, H, W) float32, rightly classified ones of them under attack.
        benign_flags: (N,) bool.
        attacked_flags: (M,) bool.
    """

    benign: NDArray[np.float32]
    attacked: NDArray[np.float32]
    benign_flags: Flags
    attacked_flags: Flags


def prepare(model: Path, example: Example, *, attack: str, images: int, seed: int) -> Traffic:
    """Attack test images, and run everything through the file."""
    benign = to_model_input(example.test.images, 1)
    (case,) = (case for case in catalogue() if case.name == attack)
    target = open_target(model, example.model, benign)
    with DefendedSession(model, device="cpu") as session:
        answer = session.predict(benign)
        right = np.flatnonzero(answer.raw_labels == example.test.labels)[:images]
        attacked = run_attack(
            case, target.undefended, benign[right], example.test.labels[right], seed=seed
        ).images
        return Traffic(
            benign=benign,
            attacked=attacked,
            benign_flags=answer.flagged,
            attacked_flags=session.predict(attacked).flagged,
        )


def mixed(
    traffic: Traffic, share: float, rows: int, rng: np.random.Generator
) -> tuple[Flags, NDArray[np.intp]]:
    """Which rows of a stream are attacked, each with probability ``share``, and which image each one is."""
    is_attacked = rng.random(rows) < share
    which = np.where(
        is_attacked,
        rng.integers(len(traffic.attacked), size=rows),
        rng.integers(len(traffic.benign), size=rows),
    )
    return is_attacked, which


def flags_of(traffic: Traffic, share: float, rows: int, rng: np.random.Generator) -> Flags:
    """The flags of such a stream. Rows do not see each other, so those of each image alone are those."""
    is_attacked, which = mixed(traffic, share, rows, rng)
    flags = traffic.benign_flags[np.where(is_attacked, 0, which)]
    flags[is_attacked] = traffic.attacked_flags[which[is_attacked]]
    return flags


def delay_under_attack(
    traffic: Traffic, expected: Expected, share: float, *, streams: int, rng: np.random.Generator
) -> Delay:
    """Rows from the first attacked one to the alarm, after 10,000 benign rows."""
    rows = list[float]()
    for _ in range(streams):
        watch = DriftWatch(expected, alpha=ALPHA, horizon_rows=ROWS)
        watch.see(flags_of(traffic, 0.0, 10_000, rng))
        rows.append(rows_until_alarm(watch, flags_of(traffic, share, ROWS, rng)))
    return Delay(tuple(rows))


def benign_alarms(
    traffic: Traffic, expected: Expected, *, streams: int, rng: np.random.Generator, advance: Advance
) -> Rate:
    """Streams of 100,000 benign images, drawn from the test images, in which there was an alarm."""
    alarmed = 0
    for _ in range(streams):
        watch = DriftWatch(expected, alpha=ALPHA, horizon_rows=ROWS)
        alarmed += bool(watch.see(flags_of(traffic, 0.0, ROWS, rng)))
        advance(1)
    return Rate(alarmed, streams)


@dataclass(frozen=True, kw_only=True)
class Live:
    """One stream through a session with its observers.

    Attributes:
        benign_alarms: before the first attacked row.
        rows: from there to the warning; None if there was none.
        warning: as logged.
        totals: of the counters.
        audit_lines: in the audit file.
    """

    benign_alarms: int
    rows: int | None
    warning: str
    totals: Totals
    audit_lines: int


def live(
    model: Path, folder: Path, traffic: Traffic, expected: Expected, share: float, rng: np.random.Generator
) -> Live:
    """2000 benign rows, then attacks among them, through ``predict`` in calls of eight until it warns."""
    counters, watch = Counters(), DriftWatch(expected, alpha=ALPHA, horizon_rows=ROWS)
    with (
        AuditFile(folder / "audit.jsonl") as audit,
        _warnings() as warnings,
        DefendedSession(model, device="cpu", observer=compose(counters, watch, audit)) as session,
    ):
        for batch in _batches(traffic, 0.0, rng):
            session.predict(batch)
        before = len(warnings)
        for batch in _batches(traffic, share, rng):
            session.predict(batch)
            if len(warnings) > before:
                break
    last = watch.state().last_alarm
    return Live(
        benign_alarms=before,
        rows=last.row - LIVE_ROWS if last is not None and len(warnings) > before else None,
        warning=warnings[before] if len(warnings) > before else "",
        totals=counters.snapshot(),
        audit_lines=len((folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()),
    )


def _batches(traffic: Traffic, share: float, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    is_attacked, which = mixed(traffic, share, LIVE_ROWS, rng)
    for start in range(0, LIVE_ROWS, CALL):
        part = slice(start, start + CALL)
        yield np.stack(
            [
                (traffic.attacked if attacked else traffic.benign)[row]
                for attacked, row in zip(is_attacked[part], which[part], strict=True)
            ]
        )


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the watch logs meanwhile."""
    messages = list[str]()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, handler = logging.getLogger("nip_runtime.observe.drift"), Keep(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
