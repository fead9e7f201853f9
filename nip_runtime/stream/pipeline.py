"""The threads behind ``predict_stream``: one reads the source, some decode, some run the model.

    source ──▶ reader ──▶ decoders ──▶ runners ──▶ the caller's thread
               in order    any order    in order    in order

Decoding and onnxruntime release Python's lock, so they overlap. A runner takes rows only when it is free;
with two of them, one stacks, checks and converts its rows while the other computes.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Generic

from nip_runtime.stream.limits import Limits
from nip_runtime.stream.slots import Item, Predict, Slot, answer


class Pipeline(Generic[Item]):
    """Answers the items of one source; :meth:`slots` may be iterated once.

    Args:
        predict: called from up to ``limits.runs`` threads at once.
        source: read by one thread of the pipeline.
        decode: turns an item into one image, in ``limits.workers`` threads at once. None: items are images.
        limits: how much at once.
        stops_at_error: a failed item ends its batch, so that it is heard of as soon as those before it are
            answered.
    """

    def __init__(
        self,
        predict: Predict,
        source: Iterator[Item],
        *,
        decode: Callable[[Item], object] | None,
        limits: Limits,
        stops_at_error: bool,
    ) -> None:
        self._predict, self._source, self._decode = predict, source, decode
        self._limits, self._stops_at_error = limits, stops_at_error
        self._threads: list[threading.Thread] = []
        self._assembling = threading.Lock()  # groups are taken in order, so by one runner at a time
        # Guards everything below; each condition is named after what its waiters wait for.
        lock = threading.RLock()  # the garbage collector may call stop() in a thread that holds it
        self._room, self._work, self._rows, self._results = (threading.Condition(lock) for _ in range(4))
        self._undecoded: deque[Slot[Item]] = deque()
        self._waiting: deque[Slot[Item]] = deque()
        self._finished: dict[int, list[Slot[Item]]] = {}
        self._groups = 0
        self._in_flight = 0
        self._is_exhausted = False
        self._is_stopped = False
        self._failure: BaseException | None = None

    def slots(self) -> Generator[Slot[Item], None, None]:
        """Start the threads and yield the items in order, each with its row or its error.

        Raises:
            Exception: what the source raised, after all items before it.
        """
        try:
            self._start()
            groups = 0
            while (group := self._next_finished(groups)) is not None:
                groups += 1
                for slot in group:
                    with self._room:
                        self._in_flight -= 1
                        self._room.notify()
                    yield slot
            if self._failure is not None:
                raise self._failure
        finally:
            self.stop()

    def stop(self) -> None:
        """Let every thread finish what it is doing, and nothing more. Doing it twice is harmless."""
        with self._room:
            self._is_stopped = True
            self._wake_all()
        if threading.current_thread() in self._threads:  # see the lock; it would wait for itself
            return
        for thread in self._threads:
            thread.join()
        atexit.unregister(self.stop)  # not before: a second Ctrl-C may end the waiting

    def _start(self) -> None:
        decoders = 0 if self._decode is None else self._limits.workers
        # Daemons, so that a stream nobody closed does not hold up the end of the process; stopped before
        # the interpreter goes, so that none is inside onnxruntime then.
        atexit.register(self.stop)
        self._spawn("reader", 1, self._read)
        self._spawn("decoder", decoders, self._decode_waiting)
        self._spawn("runner", self._limits.runs, self._run)

    def _spawn(self, name: str, count: int, work: Callable[[], None]) -> None:
        for number in range(count):
            thread = threading.Thread(
                target=self._guarded, args=(work,), name=f"nip-{name}-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # no item's fault: the caller must hear of it, not wait without end
            with self._results:
                self._failure = error
                self._is_stopped = True
                self._wake_all()

    def _wake_all(self) -> None:
        for condition in (self._room, self._work, self._rows, self._results):
            condition.notify_all()

    # The reader.

    def _read(self) -> None:
        index = 0
        while self._take_room():
            try:
                slot = Slot(index, next(self._source))
            except StopIteration:
                break
            except Exception as error:
                self._failure = error
                break
            index += 1
            if self._decode is None:
                slot.decode(None)
                slot.mark_decoded()
            with self._room:
                self._waiting.append(slot)
                if self._decode is None:
                    self._rows.notify()
                else:
                    self._undecoded.append(slot)
                    self._work.notify()
        with self._room:
            self._in_flight -= 1  # the room taken for an item that did not come
            self._is_exhausted = True
            self._wake_all()

    def _take_room(self) -> bool:
        with self._room:
            self._room.wait_for(lambda: self._is_stopped or self._in_flight < self._limits.in_flight)
            self._in_flight += 1
            return not self._is_stopped

    # The decoders.

    def _decode_waiting(self) -> None:
        while (slot := self._next_undecoded()) is not None:
            slot.decode(self._decode)
            with self._rows:
                slot.mark_decoded()
                self._rows.notify()

    def _next_undecoded(self) -> Slot[Item] | None:
        with self._work:
            self._work.wait_for(lambda: self._undecoded or self._is_exhausted or self._is_stopped)
            return self._undecoded.popleft() if self._undecoded and not self._is_stopped else None

    # The runners.

    def _run(self) -> None:
        while (taken := self._next_group()) is not None:
            number, group = taken
            answer(group, self._predict)
            with self._results:
                self._finished[number] = group
                self._results.notify()

    def _next_group(self) -> tuple[int, list[Slot[Item]]] | None:
        """Take the next rows, at most a batch, of one dtype and shape; None at the end."""
        with self._assembling, self._rows:
            group: list[Slot[Item]] = []
            while len(group) < self._limits.batch and self._head_comes(self._patience_s(group)):
                if not self._waiting[0].stacks_with(group):
                    break
                group.append(self._waiting.popleft())
                if self._stops_at_error and group[-1].error is not None:
                    break
            if self._is_stopped or not group:
                return None
            self._groups += 1
            return self._groups - 1, group

    def _patience_s(self, group: list[Slot[Item]]) -> float | None:
        """How long a group may still wait for another row; None without limit."""
        if self._limits.flush_after_ms is None or not group:
            return None
        ready_s = min(slot.decoded_at_s for slot in group if slot.decoded_at_s is not None)
        return max(0.0, ready_s + self._limits.flush_after_ms / 1000 - time.monotonic())

    def _head_comes(self, patience_s: float | None) -> bool:
        """Wait until the next item in order is decoded; False if time is up, or none will come."""
        self._rows.wait_for(
            lambda: self._is_stopped or self._is_head_decoded() or (self._is_exhausted and not self._waiting),
            patience_s,
        )
        return self._is_head_decoded() and not self._is_stopped

    def _is_head_decoded(self) -> bool:
        return bool(self._waiting) and self._waiting[0].decoded_at_s is not None

    # The caller's thread.

    def _next_finished(self, number: int) -> list[Slot[Item]] | None:
        with self._results:
            self._results.wait_for(
                lambda: (
                    number in self._finished
                    or self._is_stopped
                    or (self._is_exhausted and not self._in_flight)
                )
            )
            return self._finished.pop(number, None)
