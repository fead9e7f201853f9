"""Answers arrays of the host with an engine, and does what the user chose when memory runs out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import OutOfMemoryError
from nip_runtime.run.engine.answers import Answers, Engine
from nip_runtime.run.memory import trim
from nip_runtime.run.providers import OnOutOfMemory
from nip_runtime.run.runners import HostRunner, Runner

_log = logging.getLogger(__name__)

T = TypeVar("T")
Floats = NDArray[np.float32]
HostAnswers = Answers[NDArray[Any]]


class HostAnswering(Generic[T]):
    """Brings rows to an engine and its answers back. Safe from several threads at once.

    Rows are independent, so neither a split batch nor another device changes what a row is answered: on the
    CPU not by one bit.

    Args:
        engine: runs where it was opened.
        runner: brings tensors there and back.
        choice: what to do when memory, there or here, does not hold a run.
        shrinking: options of a run that gives free memory of the arenas back. The failed run has filled them,
            in pieces that may serve no other batch size, and taken the memory from everyone else. None where
            that must not be.
        open_fallback: opens the same file on the CPU; called once, when first needed. None where there is
            nothing to fall back on: the choice CPU then raises.
    """

    def __init__(
        self,
        engine: Engine[T],
        runner: Runner[T],
        choice: OnOutOfMemory,
        *,
        shrinking: object = None,
        open_fallback: Callable[[], HostAnswering[Any]] | None = None,
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._choice = choice
        self._shrinking = shrinking
        self._open_fallback = open_fallback
        self._fallback: HostAnswering[Any] | None = None
        self._lock = threading.Lock()
        self._told = False

    def answer(self, inputs: Floats) -> HostAnswers:
        """Answer N ≥ 1 rows of float32 (N, *shape).

        Raises:
            OutOfMemoryError: if memory does not hold the run and the user chose nothing else, or what the
                user chose does not help: not even one row fits, or there is no other device.
            ArtifactError: if the file has to be opened on the CPU, and is no longer the one that was opened.
        """
        try:
            return self._attempt(inputs)
        except OutOfMemoryError as error:
            if not self._can_help(len(inputs)):
                self._give_back(inputs[:1])
                raise
            problem = str(error)
        # Beyond the handler: the error's traceback keeps what the failed run has allocated.
        self._give_back(inputs[:1])
        if self._choice is OnOutOfMemory.CPU:
            self._tell_once("answering on the CPU what does not fit: %s", problem)
            return self._on_cpu().answer(inputs)
        self._tell_once("splitting batches that do not fit: %s", problem)
        half = (len(inputs) + 1) // 2
        halves = [self.answer(inputs[:half]), self.answer(inputs[half:])]
        self._give_back(inputs[:1])  # what is short must not be held on to until the next batch
        return joined(halves)

    def _can_help(self, rows: int) -> bool:
        match self._choice:
            case OnOutOfMemory.SPLIT:
                return rows > 1
            case OnOutOfMemory.CPU:
                return self._open_fallback is not None
        return False

    def _give_back(self, row: Floats) -> None:
        if self._shrinking is None:
            return
        try:
            self._engine.run(self._runner.from_host(row), options=self._shrinking)
        except Exception as error:  # not even one row runs: what to say of that has been said
            _log.debug("could not give memory back: %s", error)
        trim()

    def _on_cpu(self) -> HostAnswering[Any]:
        with self._lock:
            if self._fallback is None:
                assert self._open_fallback is not None  # or `_can_help` would have said no
                self._fallback = self._open_fallback()
            return self._fallback

    def _tell_once(self, message: str, problem: str) -> None:
        level = logging.DEBUG if self._told else logging.WARNING
        self._told = True
        _log.log(level, message, problem)

    def _attempt(self, inputs: Floats) -> HostAnswers:
        runner: Runner[Any] = self._runner
        answers: Answers[Any] = self._engine.run(runner.from_host(inputs))
        return answers if isinstance(runner, HostRunner) else answers.map(runner.to_host)


def joined(runs: Sequence[HostAnswers]) -> HostAnswers:
    """The answers of several runs, one after the other, as those of one."""
    logits, raw_logits, suspicion, flagged, candidate = (
        np.concatenate(values) for values in zip(*(run.values for run in runs), strict=True)
    )
    return Answers(logits, raw_logits, suspicion, flagged, candidate)
