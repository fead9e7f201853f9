"""The embedded example in every precision, made from few images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from nip_export.config import ExportConfig
from nip_export.data import ImageSet
from nip_export.demo.example import Example, load_example
from nip_export.fit.benign import at_the_door
from nip_export.network.run import TapCells
from nip_export.pipeline import Prepared, prepare_defence, write_defended
from nip_export.precision import OnnxBackbone
from nip_export.verify.oracle import Expected, oracle
from nip_export.write.report import ExportReport

PROFILE, CALIBRATION, TEST = 500, 400, 60
BUDGET = 0.05
EXAMPLE: Example = load_example()


def spread(data: ImageSet, count: int) -> ImageSet:
    """Some images of all classes."""
    return data.take(np.linspace(0, len(data) - 1, count).astype(np.int64))


PROFILE_SET, CALIBRATION_SET = spread(EXAMPLE.profile, PROFILE), spread(EXAMPLE.calibration, CALIBRATION)
TEST_SET = spread(EXAMPLE.test, TEST)


def config(precision: str, **settings: object) -> ExportConfig:
    """Settings of all exports here."""
    common: dict[str, object] = {"mean": EXAMPLE.mean, "std": EXAMPLE.std, "ascent_steps": 3}
    return ExportConfig(**(common | {"benign_budget": BUDGET, "precision": precision} | settings))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Made:
    """One export."""

    prepared: Prepared
    report: ExportReport
    path: Path
    plain: Path

    @cached_property
    def inputs(self) -> NDArray[np.float32]:
        """Benign images, shaken ones, and one that nothing was calibrated to."""
        benign = at_the_door(TEST_SET).inputs
        noise = np.random.default_rng(0).random(benign.shape, np.float32)
        shaken = np.clip(benign + 0.3 * (noise - 0.5), 0, 1)
        return np.concatenate([benign, shaken, noise[:1]]).astype(np.float32)

    @cached_property
    def backbone(self) -> OnnxBackbone:
        """What stands in the file, on its own."""
        plan = self.prepared.bench.plan
        grids = [TapCells(plan.tap(readout.tap), readout.cells) for readout in self.prepared.known.readouts]
        grids.append(TapCells(plan.tap(plan.features), 1))
        return OnnxBackbone(self.prepared.backbone(), grids)

    @cached_property
    def expected(self) -> Expected:
        """The oracle's answers to the inputs."""
        return oracle(self.report.spec, lambda inputs: self.backbone.run(inputs, batch_size=256), self.inputs)

    @cached_property
    def graph(self) -> onnx.GraphProto:
        return onnx.load(str(self.path)).graph


def make(precision: str, folder: Path, *, few: bool = False, **settings: object) -> Made:
    """Export the example, from even fewer images if that will do."""
    profile = spread(EXAMPLE.profile, 150) if few else PROFILE_SET
    calibration = spread(EXAMPLE.calibration, 150) if few else CALIBRATION_SET
    prepared = prepare_defence(
        EXAMPLE.model,
        profile.images,
        profile.labels,
        calibration=(calibration.images, calibration.labels),
        config=config(precision, **settings),
    )
    path, plain = folder / f"{precision}.nip.onnx", folder / f"{precision}.onnx"
    return Made(prepared, write_defended(prepared, path, plain_path=plain), path, plain)


def open_session(model: Path | bytes, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    """A session on one CPU thread; `optimised` receives the graph as onnxruntime runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    content = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
