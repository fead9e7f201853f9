"""A model repository, a server for it, and what clients send."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.hardening.serving.environment import Environment
from benchmarks.hardening.serving.fleet import Fleet, Kind, Plan, Protocol, ask
from benchmarks.hardening.serving.server import TritonServer
from nip_runtime.operate.triton import write_repository

MODEL: Final = "model"
GOLDENS: Final = Path(__file__).resolve().parents[3] / "tests" / "goldens"


@dataclass(frozen=True)
class Images:
    """What clients send: float32 (N, C, H, W), and the kind of each row (N,)."""

    values: NDArray[np.float32]
    kind: NDArray[np.int64]

    @classmethod
    def of(cls, benign: NDArray[np.uint8], attacked: NDArray[np.uint8]) -> Images:
        """Grey images (N, H, W), and broken rows with them."""
        pixels = np.concatenate([benign, attacked])[:, None].astype(np.float32) / np.float32(255)
        broken = broken_rows(pixels.shape[1:])
        counts = [len(benign), len(attacked), len(broken)]
        return cls(np.concatenate([pixels, broken]), np.repeat(list(map(int, Kind)), counts))

    @classmethod
    def of_golden(cls, policy: str) -> Images:
        """Those of a golden file: the first half benign, the second attacked."""
        with np.load(GOLDENS / f"{policy}.npz") as golden:
            benign, attacked = np.split(golden["images"], 2)
        return cls.of(benign, attacked)


@dataclass(frozen=True)
class Stage:
    """A repository with one model, called "model", and the answers that its clients have to get.

    ``expected`` holds each output for every row of ``images``, as onnxruntime answers when it is asked
    directly and row by row; a value per row has shape (N, 1), as Triton shows it.
    """

    environment: Environment
    scratch: Path
    repository: Path
    arrays: Path
    images: Images
    expected: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, environment: Environment, model: Path, images: Images, scratch: Path) -> Stage:
        """Write the repository, and ask onnxruntime."""
        folder = write_repository(model, scratch / "models", name=MODEL).model.folder
        arrays = scratch / "arrays.npz"
        expected = _answers(folder / "1" / "model.onnx", images.values)
        write_arrays(arrays, images, expected)
        return cls(environment, scratch, folder.parent, arrays, images, expected)

    @contextmanager
    def serve(self, *arguments: str) -> Iterator[Served]:
        """A server for the length of the block, with further options of tritonserver."""
        scratch = Path(tempfile.mkdtemp(dir=self.scratch, prefix="server-"))
        with TritonServer(self.environment, self.repository, scratch, *arguments) as server:
            yield Served(self, server)


@dataclass(frozen=True)
class Served:
    """A stage whose server runs."""

    stage: Stage
    server: TritonServer

    def plan(self, protocol: Protocol, **changes: Any) -> Plan:
        """What a fleet shall do: 16 clients for two seconds unless ``changes`` say otherwise."""
        address = f"127.0.0.1:{getattr(self.server.ports, protocol)}"
        plan = Plan(protocol=protocol, address=address, model=MODEL, arrays=str(self.stage.arrays), seconds=2)
        return replace(plan, **changes)

    def fleet(self, protocol: Protocol, **changes: Any) -> Fleet:
        """Clients that send from now on."""
        return Fleet(self.stage.environment, self.plan(protocol, **changes), self.stage.scratch)

    def wrong(self, protocol: Protocol) -> dict[str, str]:
        """How the server answers each of several wrong requests."""
        path = self.stage.scratch / f"wrong-{protocol}.json"
        path.write_text(json.dumps(asdict(self.plan(protocol))))
        answers: dict[str, str] = ask(self.stage.environment, "wrong", path)
        return answers

    def statistics(self) -> Statistics:
        """What Triton itself has counted since it started, warm-up included."""
        (read,) = json.loads(self.server.get(f"/v2/models/{MODEL}/stats"))["model_stats"]
        largest = max(each["batch_size"] for each in read["batch_stats"])
        return Statistics(read["inference_count"], read["execution_count"], largest)


@dataclass(frozen=True)
class Statistics:
    """Rows and batches that the server has run, and the largest batch."""

    rows: int
    batches: int
    largest_batch: int


def write_arrays(target: Path, images: Images, expected: dict[str, NDArray[Any]]) -> None:
    """Write what the client process reads."""
    content: dict[str, Any] = {"images": images.values, "kind": images.kind, **expected}
    np.savez(target, **content)


def _answers(model: Path, images: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    single = [session.run(names, {session.get_inputs()[0].name: image[None]}) for image in images]
    return {
        name: np.concatenate([answers[place] for answers in single]).reshape(len(images), -1)
        for place, name in enumerate(names)
    }


def broken_rows(shape: Sequence[int]) -> NDArray[np.float32]:
    """Rows that the runtime would refuse and the server lets through."""
    rows = np.full((5, *shape), 0.5, np.float32)
    rows[0] = np.nan
    rows[1].flat[7] = np.nan
    rows[2].flat[7] = np.inf
    rows[3] = 1e30
    rows[4] = -3
    return rows
