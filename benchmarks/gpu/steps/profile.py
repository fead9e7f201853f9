"""Where onnxruntime's own profiler finds the time of answers that miss their targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from benchmarks.gpu.material import FP32, Floats, Material
from benchmarks.gpu.plan import Step
from benchmarks.gpu.results import Book, Missing, Profiled, Timed, of_kind, read
from benchmarks.gpu.step import task
from benchmarks.gpu.verdicts import missed
from benchmarks.gpu.ways import PLAIN, Way
from benchmarks.speed.profile import Profile, Provider, Section, profile
from benchmarks.speed.targets import SCREEN_RATE, State
from nip_runtime.file.artifact import read_artifact
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.fused import FusedEngine
from nip_runtime.run.engine.gated import GatedEngine
from nip_runtime.run.providers import SessionSettings, resolve
from nip_runtime.run.providers.options import provider_list
from nip_runtime.run.runners.host import HostRunner

OPERATORS: Final = 3
"""The costliest of each section that are kept."""
Open = Callable[[bytes], Any]


def main() -> int:
    told = task(Step.PROFILE)
    book = told.book()
    providers = provider_list(resolve(told.device), SessionSettings())
    rows = [row for row in of_kind(read(told.out / f"{Step.SPEED}.json"), Timed) if missed(row)]
    for network in told.networks:
        for batch in told.plan.profiled_batches:
            # Captured graphs replay as one: the profiler would see no operator of theirs.
            own = [
                row
                for row in rows
                if (row.network, row.batch, row.precision) == (network.name, batch, FP32)
                and row.way != Way.GRAPHED
            ]
            if own:
                look(book, network, batch, own, providers)
    return 0


def look(
    book: Book, network: Material, batch: int, rows: Sequence[Timed], providers: Sequence[Provider]
) -> None:
    """Profile the plain file and every missed row of one network and batch size."""
    pool, content = network.pool(FP32), network.path(FP32).read_bytes()
    manifest = read_artifact(network.path(FP32)).manifest
    runner = HostRunner()

    def plain(images: Floats, open_session: Open) -> Callable[[], object]:
        session = open_session(network.plain(FP32))
        return partial(session.run, None, {session.get_inputs()[0].name: images})

    def fused(images: Floats, open_session: Open) -> Callable[[], object]:
        engine = FusedEngine(content, manifest, open_session=open_session, runner=runner)
        return partial(engine.run, images)

    def gated(images: Floats, open_session: Open) -> Callable[[], object]:
        engine = GatedEngine(
            Sliceable(content), manifest, open_backbone=open_session, open_heads=open_session, runner=runner
        )
        return partial(engine.run, images)

    kinds = {PLAIN: plain, Way.FUSED: fused, Way.GATED: gated}
    wanted: list[tuple[str, State | None]] = [(PLAIN, None), *((row.way, row.state) for row in rows)]
    for way, state in wanted:
        taken = 0 if state is None else state.second_pass_rows(batch, SCREEN_RATE)
        variant = way if state is None else f"{way} {state}"
        outputs = frozenset([] if state is None else [manifest.output.name])
        make_run = partial(kinds[way], pool.batch(batch, taken))
        try:
            found = profile(variant, batch, taken, make_run, outputs, providers=providers)
        except Exception as error:  # the others are to be profiled
            book.add(Missing(what=f"profile of {network.name} {variant}, batch {batch}", why=str(error)))
            continue
        book.add(summed_up(found, network.name, way, state))
        print(network.name, variant, batch, f"{found.total_ms:.2f} ms", flush=True)


def summed_up(found: Profile, network: str, way: str, state: State | None) -> Profiled:
    """What is kept of a profile."""
    return Profiled(
        network=network,
        precision=FP32,
        batch=found.batch,
        way=way,
        state=state,
        total_ms=found.total_ms,
        sections_ms={section: found.ms(section) for section in Section},
        operators=tuple(
            f"{section}: {part.operator} ×{part.nodes} {1e3 * part.ms:.0f} µs"
            for section in (Section.PASS_1, Section.HEADS, Section.PASS_2)
            for part in found.largest(section, OPERATORS)
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
