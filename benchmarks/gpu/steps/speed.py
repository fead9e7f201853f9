"""The table of one network: every way, state and batch beside one plain pass; memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from benchmarks.gpu.material import Floats, Material
from benchmarks.gpu.pacing import timed, working
from benchmarks.gpu.plan import Step
from benchmarks.gpu.results import Book, Held, Missing, Timed
from benchmarks.gpu.step import Task, task
from benchmarks.gpu.ways import PLAIN, Way, on_device, open_plain, open_way, wait, ways_on
from benchmarks.speed.targets import SCREEN_RATE, State
from nip_runtime.file.names import RAW_LOGITS
from nip_runtime.operate.bench.rounds import latency, ratio
from nip_runtime.operate.bench.shares import Mixture
from nip_runtime.run.memory import resident_bytes
from nip_runtime.run.providers import Device
from nip_runtime.run.runners import DeviceRunner, from_dlpack
from nip_runtime.session import DefendedSession

STATES: Final = (State.BENIGN, State.CALM, State.FEW, State.ALL)
HOST, DEVICE = "host", "device"


@dataclass(frozen=True, eq=False)
class Opened:
    """The files of one precision, open: the plain one, and the defended one in every way that works."""

    plain: Any
    device: Device
    defended: Mapping[Way, DefendedSession]
    feed: str


def main() -> int:
    told = task(Step.SPEED)
    book = told.book()
    if not told.networks:
        book.add(Missing(what=str(told.network), why="the parts do not hold this network"))
    for network in told.networks:
        for precision in told.plan.precisions:
            if precision in network.precisions:
                measure(told, book, network, precision)
            else:
                book.add(Missing(what=f"{network.name} {precision}", why="the parts do not hold this file"))
    return 0


def measure(told: Task, book: Book, network: Material, precision: str) -> None:
    """Time one precision, the small batches first."""
    pool = network.pool(precision)
    opened = open_all(told, book, network, precision)
    for batch in told.plan.batches:
        for source in (HOST, DEVICE):
            what = f"{network.name} {precision}, batch {batch}, from the {source}"
            times = timed(
                working(cases_of(told, opened, pool, batch, source), book, what),
                seconds=told.plan.seconds(network.name, batch),
                least=told.plan.least_rounds,
            )
            if PLAIN not in times:
                continue
            rows = [
                Timed(
                    network=network.name,
                    precision=precision,
                    batch=batch,
                    way=name.partition(" ")[0],
                    state=State(name.partition(" ")[2]) if name != PLAIN else None,
                    source=source,
                    latency=latency(own),
                    ratio=ratio(own, times[PLAIN]),
                )
                for name, own in times.items()
            ]
            book.add(*rows)
            print(what, {f"{row.way} {row.state}": round(row.ratio.median, 2) for row in rows}, flush=True)


def open_all(told: Task, book: Book, network: Material, precision: str) -> Opened:
    """Open one precision in every way, one after the other; notes what memory each holds."""
    largest = max(told.plan.batches)
    pool = network.pool(precision)
    calm, everything = pool.batch(1, 0), pool.batch(largest, largest)
    start = used_bytes(told)
    plain, device = open_plain(told, network.plain(precision))
    feed = plain.get_inputs()[0].name
    defended = dict[Way, DefendedSession]()
    for way in (PLAIN, *ways_on(told)):
        try:
            if way == PLAIN:
                run: Callable[[Floats], object] = partial(_run_plain, plain, feed)
            else:
                start = used_bytes(told)
                defended[Way(way)] = session = open_way(told, network.path(precision), Way(way))
                run = session.predict
            run(calm)
            opened_bytes = used_bytes(told) - start
            run(everything)
        except Exception as error:  # whatever a GPU may raise: the other ways are to be measured
            why = f"{type(error).__name__}: {error}"
            book.add(Missing(what=f"{network.name} {precision} {way}", why=why))
            continue
        held = Held(
            network=network.name,
            precision=precision,
            way=way,
            opened_bytes=opened_bytes,
            largest_bytes=used_bytes(told) - start,
            largest_batch=largest,
        )
        book.add(held)
    return Opened(plain, device, defended, feed)


def _run_plain(session: Any, feed: str, images: Floats) -> object:
    return session.run(None, {feed: images})


def cases_of(
    told: Task, opened: Opened, pool: Mixture, batch: int, source: str
) -> dict[str, Callable[[], object]]:
    """What answers a batch, by way and state; one row is no share of a batch."""
    cases: dict[str, Callable[[], object]] = {}
    calm = pool.batch(batch, 0)
    cases[PLAIN] = plain_case(told, opened, calm, source)
    for way, session in opened.defended.items():
        for state in STATES:
            if not state.timed_at(batch):
                continue
            images = pool.batch(batch, state.second_pass_rows(batch, SCREEN_RATE))
            if source == HOST:
                cases[f"{way} {state}"] = partial(session.predict, images)
            else:
                cases[f"{way} {state}"] = tensor_case(told, session, images)
    return cases


def plain_case(told: Task, opened: Opened, images: Floats, source: str) -> Callable[[], object]:
    """One plain pass, from host to host, or from a tensor on the device to one."""
    if source == HOST:
        return partial(opened.plain.run, None, {opened.feed: images})
    runner, tensor = DeviceRunner(opened.device), on_device(told, images)
    value = from_dlpack(tensor, device=opened.device, shape=(None, *images.shape[1:]))

    def run() -> object:
        found = runner.run(opened.plain, [RAW_LOGITS], {opened.feed: value})
        wait(told)
        return found

    return run


def tensor_case(told: Task, session: DefendedSession, images: Floats) -> Callable[[], object]:
    """``predict_tensor`` until its answer is there."""
    tensor = on_device(told, images)

    def run() -> object:
        found = session.predict_tensor(tensor)
        wait(told)
        return found

    return run


def used_bytes(told: Task) -> int:
    """Memory in use on the card by all processes, or this process's own on a CPU."""
    if not told.on_gpu:
        return resident_bytes()
    import torch

    free, total = torch.cuda.mem_get_info(told.device)
    return int(total - free)


if __name__ == "__main__":
    raise SystemExit(main())
