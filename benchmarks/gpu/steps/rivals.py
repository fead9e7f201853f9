"""PyTorch beside the file: the same defence, read back from it, eager and through ``torch.compile``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch

from benchmarks.gpu.material import FP32, Floats, Material
from benchmarks.gpu.pacing import timed, working
from benchmarks.gpu.plan import Step
from benchmarks.gpu.results import Book, Missing, Rival
from benchmarks.gpu.step import Task, task
from benchmarks.gpu.ways import Way, open_way
from benchmarks.speed.networks import NETWORKS, Name
from benchmarks.speed.rivals import TWIN_TOLERANCE
from benchmarks.speed.targets import State
from nip_evaluate.given.target import open_target
from nip_export.verify import DefendedTwin
from nip_runtime.operate.bench.rounds import latency, ratio
from nip_runtime.session import DefendedSession

EAGER, COMPILED = "eager", "compiled"
Answer = Callable[[Floats], Floats]


def main() -> int:
    told = task(Step.RIVALS)
    book = told.book()
    # The file keeps all bits of float32, and so must what stands beside it.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    networks = {network.name: network for network in told.networks if FP32 in network.precisions}
    twins = dict[str, DefendedTwin]()
    for name, network in networks.items():
        try:
            twins[name] = twin_of(told, network)
            measure(told, book, network, EAGER, {batch: eager(told, twins[name]) for batch in batches(told)})
        except Exception as error:  # the other networks are to be measured
            book.add(Missing(what=f"eager {name}", why=f"{type(error).__name__}: {error}"))
    if not told.plan.compiles:
        return 0
    # Compiling takes half a minute where a network is large: those that are quickly done come first.
    for name in sorted(twins, key=lambda name: NETWORKS[Name(name)].parameters):
        began = time.monotonic()
        try:
            compiled_one = compiled(told, twins[name], networks[name])
            measure(
                told, book, networks[name], COMPILED, {batch: compiled_one for batch in batches(told)[:2]}
            )
        except Exception as error:
            book.add(Missing(what=f"torch.compile {name}", why=f"{type(error).__name__}: {error}"))
        print(f"torch.compile {name}: {time.monotonic() - began:.1f} s", flush=True)
    return 0


def batches(told: Task) -> tuple[int, ...]:
    """Rows, the smallest first."""
    return tuple(sorted(told.plan.rival_batches))


def twin_of(told: Task, network: Material) -> DefendedTwin:
    """The defence of the fp32 file around the network it was made from, on the device."""
    model = NETWORKS[Name(network.name)].factory()
    model.load_state_dict({name: torch.from_numpy(values) for name, values in network.state().items()})
    model = model.eval().requires_grad_(False)
    return open_target(network.path(FP32), model, network.inputs()[:2]).twin.to(told.device).eval()


def eager(told: Task, twin: DefendedTwin) -> Answer:
    """The twin as it is, host to answer."""

    def answer(images: Floats) -> Floats:
        with torch.inference_mode():
            found: Floats = twin(torch.from_numpy(images).to(told.device)).logits.cpu().numpy()
        return found

    return answer


def compiled(told: Task, twin: DefendedTwin, network: Material) -> Answer:
    """The twin exported, so that inductor sees one graph without hooks, and compiled for each batch size."""
    example = torch.from_numpy(network.inputs()[:2]).to(told.device)
    rows = torch.export.Dim("N", min=1)
    with torch.no_grad():
        program = torch.export.export(twin, (example,), dynamic_shapes=({0: rows},), strict=False)
    compilation = torch.compile(program.module(), dynamic=False)

    def answer(images: Floats) -> Floats:
        with torch.no_grad():
            found: Floats = compilation(torch.from_numpy(images).to(told.device))[0].cpu().numpy()
        return found

    return answer


def measure(told: Task, book: Book, network: Material, kind: str, answers: Mapping[int, Answer]) -> None:
    """Time one contender beside the file, gated; its answers are checked first."""
    pool = network.pool(FP32)
    with open_way(told, network.path(FP32), Way.GATED) as session:
        for batch, answer in answers.items():
            calm, everything = pool.batch(batch, 0), pool.batch(batch, batch)
            check(kind, answer, session, everything)
            cases: dict[str, Callable[[], object]] = {
                kind: partial(answer, everything),
                State.CALM: partial(session.predict, calm),
                State.ALL: partial(session.predict, everything),
            }
            what = f"{network.name}, batch {batch}"
            times = timed(
                working(cases, book, what), seconds=told.plan.rival_seconds, least=told.plan.least_rounds
            )
            if len(times) < len(cases):
                continue
            book.add(
                Rival(
                    network=network.name,
                    batch=batch,
                    kind=kind,
                    latency=latency(times[kind]),
                    to_calm=ratio(times[kind], times[State.CALM]),
                    to_all=ratio(times[kind], times[State.ALL]),
                )
            )
            print(what, kind, book.path.name, flush=True)


def check(kind: str, answer: Answer, session: DefendedSession, images: Floats) -> None:
    """Refuse to time something else than the same defence.

    Raises:
        RuntimeError: the logits differ by more than rounding.
    """
    expected = session.predict(images).logits
    limit = TWIN_TOLERANCE * max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(answer(images) - expected).max())
    if not difference <= limit:
        raise RuntimeError(f"{kind}: expected the file's logits within {limit:.1g}, got {difference:.3g}")


if __name__ == "__main__":
    raise SystemExit(main())
