"""The service as an attacker meets it: labels over HTTP, and every question counted."""

from __future__ import annotations

import http.client
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from io import BytesIO
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nip_runtime.observe import BurstWatch

STUCK: Final = 1000
"""Questions in a row that were asked before, after which an attack is stuck; HopSkipJump in L∞ can be."""


class Enough(Exception):
    """Every image has had its questions, or its attack is stuck."""


class Client:
    """Asks a service for labels, many rows in a request, over one connection.

    Args:
        port: of the service.
        name: for the header X-Client.
        rows: in one request at most.
    """

    def __init__(self, port: int, *, name: str, rows: int = 64) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers, self._rows = {"X-Client": name}, rows

    def labels(self, images: NDArray[np.float32]) -> NDArray[np.int64]:
        """Labels (N,) of images (N, *shape).

        Raises:
            RuntimeError: the service refused.
        """
        parts = [
            self._asked(images[start : start + self._rows]) for start in range(0, len(images), self._rows)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _asked(self, images: NDArray[np.float32]) -> NDArray[np.int64]:
        body = BytesIO()
        np.save(body, images)
        status, text = self._answer(body.getvalue())
        if status != 200:
            raise RuntimeError(f"expected labels, got {status}: {text}")
        return np.array(text.split(), np.int64)

    def _answer(self, body: bytes, *, again: bool = True) -> tuple[int, str]:
        """Status and text; a second time on a new connection, for the service closes idle ones."""
        try:
            self._connection.request("POST", "/label", body, self._headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read().decode()
        except (ConnectionError, http.client.HTTPException):
            self.close()
            if not again:
                raise
        return self._answer(body, again=False)

    def close(self) -> None:
        """Hang up; the next question opens a new connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(eq=False)
class Record:
    """What was found near one image.

    Attributes:
        asked: questions so far, each once.
        steps: (questions, L2, L∞) wherever the smallest change found so far became smaller, in either norm:
            each is the smallest in its own.
        repeated: questions since the last new one: where an attack asks nothing new any more, it is stuck.
        burst_row: of the question at which a watch for near-duplicates that sees these questions alone warns.
    """

    asked: int = 0
    steps: list[tuple[int, float, float]] = field(default_factory=list)
    repeated: int = 0
    burst_row: int | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether more questions would find nothing: the attack has long asked none that is new."""
        return self.repeated >= STUCK

    def found(self, l2: float, linf: float) -> None:
        """Take note of a misclassified question, the last that was asked."""
        _, best_l2, best_linf = self.steps[-1] if self.steps else (0, float("inf"), float("inf"))
        if l2 < best_l2 or linf < best_linf:
            self.steps.append((self.asked, min(l2, best_l2), min(linf, best_linf)))

    def smallest(self, questions: int) -> tuple[float, float]:
        """Smallest change (L2, L∞) after so many questions; infinite if there was none."""
        return next(
            ((l2, linf) for asked, l2, linf in reversed(self.steps) if asked <= questions),
            (float("inf"), float("inf")),
        )

    def first_within(self, *, l2: float = float("inf"), linf: float = float("inf")) -> int | None:
        """Questions until a change within these; None if that never was."""
        return next((asked for asked, a, b in self.steps if a <= l2 and b <= linf), None)


class LabelVictim(nn.Module):
    """A service as a torch victim: scores (N, C) that are 1 for the label and 0 elsewhere.

    No question is asked twice. Questions beyond the budget are asked, so that attacks of many images at once
    can go on, and not taken note of.

    Args:
        client: asks.
        clean: (N, *shape), the images under attack.
        truth: (N,), their classes.
        classes: of the model.
        budget: questions for each image.
        seconds: after which no more are asked; infinite: none.

    Attributes:
        classes: of the model.
        records: one for each image.
        rows: which image each row of the next calls belongs to.
    """

    def __init__(
        self,
        client: Client,
        clean: Tensor,
        truth: Tensor,
        *,
        classes: int,
        budget: int,
        seconds: float = math.inf,
    ) -> None:
        super().__init__()
        self._client, self.classes, self._budget = client, classes, budget
        self._until_s = time.monotonic() + seconds
        self._clean, self._truth = clean.numpy(), truth.numpy()
        self._known: list[dict[bytes, int]] = [{} for _ in clean]
        self._watch = BurstWatch(clients=len(clean))
        self.records = [Record() for _ in clean]
        self.rows: Sequence[int] = range(len(clean))
        self.eval()  # foolbox warns of victims in training mode

    def forward(self, images: Tensor) -> Tensor:
        """Scores of images (N, *shape), row by row those of :attr:`rows`.

        Raises:
            Enough: every image has had its questions or is stuck, or the time is over.
        """
        if time.monotonic() > self._until_s:
            raise Enough
        asked = np.ascontiguousarray(images.detach().clamp(0, 1).numpy(), dtype=np.float32)
        keys = [blake2b(row.tobytes(), digest_size=16).digest() for row in asked]
        new = [place for place, row in enumerate(self.rows) if keys[place] not in self._known[row]]
        for row in self.rows:
            self.records[row].repeated += 1
        for place, label in zip(new, self._client.labels(asked[new]), strict=True):
            self._known[self.rows[place]][keys[place]] = int(label)
            self._note(self.rows[place], asked[place], int(label))
        records = [self.records[row] for row in self.rows]
        if all(record.asked >= self._budget or record.is_stuck for record in records):
            raise Enough
        labels = [self._known[row][key] for row, key in zip(self.rows, keys, strict=True)]
        return nn.functional.one_hot(torch.tensor(labels), self.classes).float()

    def _note(self, row: int, image: NDArray[np.float32], label: int) -> None:
        record = self.records[row]
        record.repeated = 0
        if record.asked >= self._budget:
            return
        record.asked += 1
        if record.burst_row is None and self._watch.see(image[None], client=str(row)):
            record.burst_row = record.asked
        if label != self._truth[row]:
            change = (image - self._clean[row]).astype(np.float64).ravel()
            record.found(float(np.linalg.norm(change)), float(np.abs(change).max()))
