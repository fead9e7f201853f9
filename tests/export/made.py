"""Exports that several tests look at, made once per test run and shared by its processes through files."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from nip_export import ExportReport, export_defended
from nip_export.network import TapKind
from nip_export.network.run import Passed, TapCells, run_network
from nip_export.verify import oracle
from nip_export.verify.oracle import Expected
from tests.export.networks import Labels, Net, example, net, pgd

LOOKED_AT = 24
"""Benign test images looked at; as many attacked ones follow them."""
ATTACK_EPS = 16 / 255
OUTPUTS = ("nip_raw_logits", "nip_suspicion", "nip_flagged", "nip_candidate")
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Made:
    """A trained network and its export.

    Attributes:
        net: the case.
        model: trained, as it was handed to the export.
        report: of the export.
        path: the defended file.
        plain_path: the backbone alone.
    """

    net: Net
    model: nn.Module
    report: ExportReport
    path: Path
    plain_path: Path

    @cached_property
    def session(self) -> ort.InferenceSession:
        """The file in bare onnxruntime."""
        return open_file(self.path)

    @cached_property
    def plain(self) -> ort.InferenceSession:
        """The backbone alone in bare onnxruntime."""
        return open_file(self.plain_path)

    @property
    def kinds(self) -> dict[str, TapKind]:
        """How the activation of every layer that the defence reads is to be read."""
        spec = self.report.spec
        return {readout.tap: readout.kind for readout in spec.readouts} | {
            spec.typicality.tap: spec.typicality.kind
        }

    @cached_property
    def labels(self) -> Labels:
        """True classes of the inputs looked at."""
        return np.tile(example().test.labels[:LOOKED_AT], 2)

    @cached_property
    def inputs(self) -> NDArray[np.float32]:
        """Benign inputs, then the same under attack: float32 (2·24, *shape)."""
        benign = self.net.inputs_of("test", LOOKED_AT)
        attacked = pgd(self.net, self.model, benign, self.labels[:LOOKED_AT], eps=ATTACK_EPS)
        return np.concatenate([benign, attacked])

    @cached_property
    def answers(self) -> Arrays:
        """What the file says of the inputs, all in one batch."""
        return run(self.session, self.inputs)

    @cached_property
    def expected(self) -> Expected:
        """What the oracle says of them."""
        return oracle(self.report.spec, self.forward, self.inputs)

    def forward(self, inputs: NDArray[np.float32]) -> Passed:
        """One pass of the torch backbone."""
        plan = self.report.plan
        grids = [TapCells(plan.tap(r.tap), r.cells) for r in self.report.spec.readouts]
        grids.append(TapCells(plan.tap(plan.features), 1))
        return run_network(self.report.network, inputs, grids, batch_size=64, device=torch.device("cpu"))


def open_file(path: Path | bytes) -> ort.InferenceSession:
    """A single-threaded CPU session of a file, or of its content."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, inputs: NDArray[np.float32], batch: int | None = None) -> Arrays:
    """Every output by name, run in batches of one size (None: all at once)."""
    names = [output.name for output in session.get_outputs()]
    feed = session.get_inputs()[0].name
    size = batch if batch is not None else max(len(inputs), 1)
    starts = range(0, max(len(inputs), 1), size)
    parts = [session.run(names, {feed: inputs[start : start + size]}) for start in starts]
    return {
        name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)
    }


class Workshop:
    """Makes exports on first demand.

    A process that finds none makes it and puts it in place by renaming; two that do so at once waste time
    and nothing else.

    Args:
        folder: seen by every process of the test run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, Made] = {}

    def trained(self, name: str) -> nn.Module:
        """A fresh copy of a trained network."""
        stored = self._folder / f"{name}.net"
        if not stored.exists():
            self._store(stored, net(name).train())
        model: nn.Module = pickle.loads(stored.read_bytes())
        return model

    def export(self, name: str, policy: str = "guarded", view: str = "auto") -> Made:
        """The export of a network; shared, so not to be changed."""
        key = f"{name}-{policy}-{view}"
        if key not in self._made:
            self._made[key] = self._load(name, policy, view, self._folder / key)
        return self._made[key]

    def _load(self, name: str, policy: str, view: str, folder: Path) -> Made:
        case, model = net(name), self.trained(name)
        folder.mkdir(exist_ok=True)
        report_file, path, plain = (folder / part for part in ("report", "model.onnx", "plain.onnx"))
        if not report_file.exists():
            own = folder / f"{os.getpid()}"
            own.mkdir()
            (images, labels), calibration = case.benign()
            report = export_defended(
                model,
                images,
                labels,
                own / path.name,
                calibration=calibration,
                config=case.config(policy=policy, view=view),
                plain_path=own / plain.name,
            )
            # Whoever comes last replaces files by their equals.
            for made in (own / plain.name, own / path.name):
                made.replace(folder / made.name)
            self._store(report_file, report)
        return Made(case, model, pickle.loads(report_file.read_bytes()), path, plain)

    def _store(self, target: Path, value: object) -> None:
        part = target.with_name(f"{target.name}.{os.getpid()}")
        part.write_bytes(pickle.dumps(value))
        part.replace(target)


def shared_workshop(base: Path) -> Workshop:
    """The workshop of this test run.

    Args:
        base: pytest's folder of this process. Under xdist every worker has its own in one that is the run's.
    """
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exports"
    folder.mkdir(exist_ok=True)
    return Workshop(folder)
