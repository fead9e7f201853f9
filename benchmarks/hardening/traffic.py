"""Mixed requests with known answers: benign and attacked images, from as many threads as wanted."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime import DefendedSession, Prediction

GOLDENS: Final = Path(__file__).resolve().parents[2] / "tests" / "goldens"
POLICIES: Final = ("guarded", "detect", "always")
MOST_ROWS: Final = 64
_RELEASE_EVERY: Final = 97
_COLUMNS: Final = tuple(column.name for column in fields(Prediction) if column.name != "refused")


@dataclass(frozen=True, eq=False)
class Pool:
    """Images and what a session in one thread answered them, row by row.

    Attributes:
        images: (N, H, W, C) or (N, H, W) uint8.
        answers: of these N.
    """

    images: NDArray[np.uint8]
    answers: Prediction

    def differs(self, rows: NDArray[np.intp], got: Prediction) -> bool:
        """Whether the answers to ``rows`` of the pool differ from the known ones by one bit."""
        for name in _COLUMNS[:-1]:
            expected, answered = getattr(self.answers, name)[rows], getattr(got, name)
            if expected.dtype != answered.dtype or expected.tobytes() != answered.tobytes():
                return True
        return tuple(self.answers.reason[row] for row in rows) != got.reason


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What came of some requests.

    Attributes:
        batches: answered.
        rows: in these.
        flagged: of these rows.
        mismatches: batches that differed from the known answers.
        errors: what was raised, in words.
    """

    batches: int = 0
    rows: int = 0
    flagged: int = 0
    mismatches: int = 0
    errors: tuple[str, ...] = field(default=())

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            batches=self.batches + other.batches,
            rows=self.rows + other.rows,
            flagged=self.flagged + other.flagged,
            mismatches=self.mismatches + other.mismatches,
            errors=self.errors + other.errors,
        )


def golden_pool(policy: str) -> tuple[Path, Pool]:
    """A golden file, half of whose images are attacked, and its answers from one thread."""
    path = GOLDENS / f"{policy}.onnx"
    images = np.load(GOLDENS / f"{policy}.npz")["images"]
    with DefendedSession(path, device="cpu", engine="fused", threads=1) as session:
        return path, Pool(images, session.predict(images))


def one_batch(session: DefendedSession, pool: Pool, random: np.random.Generator) -> Tally:
    """One request of 1 to 64 rows drawn from the pool, and whether its answers are the known ones."""
    rows = random.integers(0, len(pool.images), random.integers(1, MOST_ROWS + 1))
    got = session.predict(pool.images[rows])
    return Tally(
        batches=1,
        rows=len(rows),
        flagged=int(got.flagged.sum()),
        mismatches=int(pool.differs(rows, got)),
    )


def hammer(
    sessions: Sequence[tuple[DefendedSession, Pool]], *, threads: int, seconds: float, seed: int = 0
) -> Tally:
    """Use the same sessions from many threads at once, which also give memory back now and then."""
    tallies = [Tally() for _ in range(threads)]
    until = time.monotonic() + seconds
    together = threading.Barrier(threads)

    def work(number: int) -> None:
        random = np.random.default_rng((seed, number))
        together.wait()
        turn = number
        while time.monotonic() < until:
            session, pool = sessions[turn % len(sessions)]
            turn += 1
            try:
                tallies[number] += one_batch(session, pool, random)
                if turn % _RELEASE_EVERY == 0:
                    session.release_memory()
            except Exception as error:  # whatever it is, it is counted
                said = f"{type(error).__name__}: {error}"
                tallies[number] = replace(tallies[number], errors=(*tallies[number].errors, said))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(tallies, Tally())
