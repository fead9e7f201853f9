"""What goes wrong in an hour, in a minute: memory too short, a wrong device, two sessions, mixed batches."""

from __future__ import annotations

import gc
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.gpu.material import FP32, Answers, Floats, Material, answers_of
from benchmarks.gpu.plan import Step
from benchmarks.gpu.results import Check
from benchmarks.gpu.step import Task, task
from benchmarks.gpu.steps.speed import used_bytes
from benchmarks.gpu.ways import Way, open_way, ways_on
from nip_runtime.errors import DeviceError, OutOfMemoryError
from nip_runtime.run.memory import resident_bytes
from nip_runtime.run.providers import OnOutOfMemory, SessionSettings
from nip_runtime.run.providers.settings import LogLevel
from nip_runtime.session import DefendedSession

TOLERANCE: Final = 1e-3
GROWTH_BYTES: Final = 64 * 2**20
"""What memory may grow by while batches of every size went before."""
SPARE_BYTES: Final = 24 * 2**20
"""What is left on a CPU to a run that is to fail."""
CARD_BYTES: Final = 256 * 2**20
"""What is left on a card: cuDNN works in some of it."""
LARGE_BATCH: Final = 4096
SIDE_BY_SIDE: Final = 20


def main() -> int:
    told = task(Step.FAULTS)
    book = told.book()
    network = min(
        (one for one in told.networks if FP32 in one.precisions),
        key=lambda one: one.path(FP32).stat().st_size,
    )
    trials: dict[str, Callable[[], Check]] = {
        "a wrong device number": lambda: wrong_device(network),
        "two sessions at once": lambda: side_by_side(told, network),
        **{
            f"{told.plan.mixed_batches} mixed batches, {way}": _mixing(told, network, way)
            for way in ways_on(told)
        },
        # Last, for what they leave behind.
        **{f"out of memory, {choice}": _running_out(told, network, choice) for choice in OnOutOfMemory},
    }
    for name, trial in trials.items():
        try:
            check = trial()
        except Exception as error:  # the other trials are to be made
            check = Check(name=name, expected="an answer", got=f"{type(error).__name__}: {error}", held=False)
        book.add(check)
        print(check, flush=True)
    return 0


def _mixing(told: Task, network: Material, way: Way) -> Callable[[], Check]:
    return lambda: mixed_batches(told, network, way)


def _running_out(told: Task, network: Material, choice: OnOutOfMemory) -> Callable[[], Check]:
    return lambda: out_of_memory(told, network, choice)


def wrong_device(network: Material) -> Check:
    """A device that is not there is refused, and no other one taken."""
    try:
        with DefendedSession(network.path(FP32), device="cuda:99") as session:
            got = f"a session on {session.device}"
    except DeviceError as error:
        got = f"DeviceError: {error}"
    return Check(
        name="a wrong device number", expected="DeviceError", got=got, held=got.startswith("DeviceError")
    )


def side_by_side(told: Task, network: Material) -> Check:
    """Two sessions in two threads answer as each does alone."""
    inputs, _ = network.expected(FP32)
    sessions = [open_way(told, network.path(FP32), way) for way in (Way.FUSED, Way.GATED)]
    alone = [answers_of(session, inputs) for session in sessions]
    wrong = list[str]()

    def work(session: DefendedSession, expected: Answers) -> None:
        try:
            for _ in range(SIDE_BY_SIDE):
                if not same(answers_of(session, inputs), expected):
                    wrong.append("another answer")
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=pair) for pair in zip(sessions, alone, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Check(
        name="two sessions at once",
        expected=f"{2 * SIDE_BY_SIDE} batches answered as by each alone",
        got="; ".join(sorted(set(wrong))) or "as expected",
        held=not wrong,
    )


def same(found: Answers, expected: Answers) -> bool:
    """Whether labels agree, and logits within the tolerance."""
    limit = TOLERANCE * max(1.0, float(np.abs(expected.logits).max()))
    return bool(
        (found.labels == expected.labels).all() and np.abs(found.logits - expected.logits).max() <= limit
    )


def mixed_batches(told: Task, network: Material, way: Way) -> Check:
    """Batches of all sizes and mixtures; memory of device and host after a tenth of them and after all."""
    random, count, largest = np.random.default_rng(0), told.plan.mixed_batches, told.plan.largest_mixed
    pool = network.pool(FP32)
    before = (0, 0)
    with open_way(told, network.path(FP32), way) as session:
        session.predict(pool.batch(largest, largest))
        for turn in range(count):
            rows = int(random.integers(1, largest + 1))
            session.predict(pool.batch(rows, int(random.integers(0, rows + 1))))
            if turn == count // 10:
                before = _memory(told)
        after = _memory(told)
    grown = [late - early for late, early in zip(after, before, strict=True)]
    return Check(
        name=f"{count} mixed batches, {way}",
        expected=f"at most {GROWTH_BYTES >> 20} MiB more than after a tenth of them",
        got=", ".join(
            f"{place} {early / 2**20:.0f} MiB before and {late / 2**20:.0f} after"
            for place, early, late in zip(("device", "host"), before, after, strict=True)
        ),
        held=max(grown) <= GROWTH_BYTES,
    )


def _memory(told: Task) -> tuple[int, int]:
    gc.collect()
    return used_bytes(told), resident_bytes()


def out_of_memory(told: Task, network: Material, choice: OnOutOfMemory) -> Check:
    """A batch for which memory is too short: an error, smaller batches, or the CPU; then all is as before.

    On a GPU the arena's limit makes it so, on a CPU the process's own limit of address space.
    """
    short = network.path(FP32).stat().st_size + CARD_BYTES if told.on_gpu else None
    settings = SessionSettings(
        threads=None if told.on_gpu else 1,
        on_out_of_memory=choice,
        gpu_mem_limit_bytes=short,
        log_level=LogLevel.FATAL,
    )
    few = network.pool(FP32).batch(2, 1)
    many = np.resize(few, (LARGE_BATCH, *few.shape[1:]))
    with open_way(told, network.path(FP32), Way.GATED, settings=settings, max_batch=LARGE_BATCH) as session:
        before = answers_of(session, few)
        got = _tried(told, session, many, before)
        usable = same(answers_of(session, few), before)
    wanted = "OutOfMemoryError" if choice is OnOutOfMemory.RAISE else "answered rightly"
    if choice is OnOutOfMemory.CPU and not told.on_gpu:
        wanted = "OutOfMemoryError"  # there is no other device
    return Check(
        name=f"out of memory, {choice}",
        expected=f"{wanted}; usable after it",
        got=f"{got}; {'usable' if usable else 'broken'} after it",
        held=got.startswith(wanted) and usable,
    )


def _tried(told: Task, session: DefendedSession, many: Floats, few: Answers) -> str:
    unlimited = resource.getrlimit(resource.RLIMIT_AS)
    if not told.on_gpu:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE_BYTES, unlimited[1]))
    try:
        found = session.predict(many)
    except OutOfMemoryError as error:
        return f"OutOfMemoryError: {error}"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, unlimited)
    labels = np.resize(few.labels, found.labels.shape)
    return "answered rightly" if (found.labels == labels).all() else "answered otherwise"


if __name__ == "__main__":
    raise SystemExit(main())
