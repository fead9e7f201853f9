"""What other processes do with sessions; importable, as spawned ones need it."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nip_runtime import DefendedSession

_session: DefendedSession | None = None


def answer(session: DefendedSession, images: NDArray[Any]) -> tuple[NDArray[np.float32], int]:
    """Logits and the process that computed them."""
    return session.predict(images).logits, os.getpid()


def answer_into(queue: Any, session: DefendedSession, images: NDArray[Any]) -> None:
    """`answer` for a process that is told nothing else."""
    queue.put(answer(session, images))


def keep(session: DefendedSession) -> None:
    """Initialise a worker of a pool."""
    global _session
    _session = session


def answer_kept(images: NDArray[Any]) -> tuple[NDArray[np.float32], int]:
    """`answer` with the session that the worker was initialised with."""
    assert _session is not None
    return answer(_session, images)


def die(images: NDArray[Any]) -> None:
    """Predict, and be killed."""
    assert _session is not None
    _session.predict(images)
    os.kill(os.getpid(), signal.SIGKILL)
