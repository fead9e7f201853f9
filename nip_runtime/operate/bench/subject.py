"""The file under test, prepared: inputs chosen, its screen moved, the plain model at its side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nip_runtime.errors import InputError
from nip_runtime.file.artifact import Artifact, read_artifact
from nip_runtime.file.manifest import InputSpec, Manifest
from nip_runtime.inputs.arrays import to_float32
from nip_runtime.inputs.images import find_files, read_file, suffixes_of
from nip_runtime.operate.bench.plain import Agreement, PlainModel, compare, cut_plain, users_plain
from nip_runtime.operate.bench.plan import BenchPlan
from nip_runtime.operate.bench.shares import (
    LOOKED_AT,
    Inputs,
    Mixture,
    look,
    move_screen,
    part_by_screen,
    random_inputs,
    rows_of,
)
from nip_runtime.run import providers
from nip_runtime.run.engine.answers import Engine, EngineKind
from nip_runtime.run.engine.choose import Opened, open_engine
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.parts import has_screen
from nip_runtime.run.providers import Device, SessionSettings, Spinning
from nip_runtime.run.runners import DeviceRunner, HostRunner, Runner


@dataclass(frozen=True, eq=False)
class Opener:
    """Opens what is timed, all alike.

    Attributes:
        device: taken.
        settings: of every session.
        runner: runs them. On a GPU, inputs and outputs stay there, the plain model's too.
    """

    device: Device
    settings: SessionSettings
    runner: Runner[Any]

    @classmethod
    def on(cls, device: str, threads: int | None) -> Opener:
        """Find the device.

        Raises:
            DeviceError: if it can't be had.
        """
        # The models take turns on the same cores: what idle threads of one waited for actively would cost
        # the next one.
        settings = SessionSettings(threads=threads, spinning=Spinning.WITHIN_RUN)
        resolved = providers.resolve(device)
        on_host = resolved.provider == providers.CPU or resolved.memory is None
        return cls(resolved, settings, HostRunner() if on_host else DeviceRunner(resolved))

    def __call__(self, model: Path | bytes) -> Any:
        """An onnxruntime session of a file or serialised model."""
        return providers.open_session(model, self.device, settings=self.settings)

    def engine(self, kind: EngineKind, model: Sliceable, manifest: Manifest) -> Opened[Any]:
        """An engine for a defended file."""
        return open_engine(
            kind, model, manifest, device=self.device, settings=self.settings, runner=self.runner
        )


@dataclass(frozen=True, eq=False)
class Subject:
    """What is timed.

    Attributes:
        artifact: the file as it is.
        model: the file with its screen moved; as it is where it has none.
        opener: opens sessions on the device taken.
        plain: the backbone alone.
        plain_session: onnxruntime's session of it.
        agreement: of its logits with the file's.
        mixture: inputs of both kinds.
    """

    artifact: Artifact
    model: Sliceable
    opener: Opener
    plain: PlainModel
    plain_session: Any
    agreement: Agreement
    mixture: Mixture

    @property
    def has_screen(self) -> bool:
        """Whether a screen picks the rows of the second pass."""
        return self.mixture.threshold is not None

    def second_pass_rows(self, batch: int, shares: tuple[float, ...] | None) -> list[int]:
        """The different numbers of rows that the shares stand for, by default none, those of benign traffic,
        and all; all rows where there is no screen."""
        if not self.has_screen:
            return [batch]
        if shares is None:
            shares = (0.0, self.artifact.manifest.calibration.pass2_rate.value, 1.0)
        return sorted({rows_of(share, batch) for share in shares})

    def run_plain(self, inputs: Inputs) -> Callable[[], Any]:
        """One pass of the backbone over ``inputs``."""
        runner, outputs = self.opener.runner, [self.plain.output_name]
        feed = {self.plain.input_name: runner.from_host(inputs)}
        return lambda: runner.run(self.plain_session, outputs, feed)

    def run_engine(self, engine: Engine[Any], inputs: Inputs) -> Callable[[], Any]:
        """The whole defence over ``inputs``."""
        tensor = self.opener.runner.from_host(inputs)
        return lambda: engine.run(tensor)


def prepare(plan: BenchPlan, plain_path: Path) -> Subject:
    """Read and check the file; choose inputs and move its screen; cut the plain model to ``plain_path``.

    Raises:
        ArtifactError: if the file is no defended one, or too old to be cut.
        DeviceError: if the device can't be had.
        InputError: if the user's plain model or data do not fit.
    """
    artifact = read_artifact(plan.path)
    manifest = artifact.manifest
    opener = Opener.on(plan.device, plan.threads)
    model = Sliceable(plan.path.read_bytes())
    plain = (
        cut_plain(model, manifest, plain_path)
        if plan.against is None
        else users_plain(plan.against, manifest, plan.batches)
    )
    found = look(model, opener, manifest.input.name, _inputs(manifest.input, plan.data))
    plain_session = opener(plain.path)
    agreement = compare(plain, plain_session, found, plan.tolerance)
    mixture = Mixture(found.inputs[:0], found.inputs, None)
    if has_screen(model):
        mixture = part_by_screen(found)
        model = move_screen(model, opener, manifest.input.name, mixture)
    return Subject(artifact, model, opener, plain, plain_session, agreement, mixture)


def _inputs(spec: InputSpec, data: tuple[Path, ...]) -> Inputs:
    """The user's first inputs, or random ones."""
    if not data:
        return random_inputs(spec, LOOKED_AT)
    parts: list[Inputs] = []
    count = 0
    for path in find_files(data, suffixes_of(spec)):
        parts.append(to_float32(read_file(path, spec)[: LOOKED_AT - count], spec))
        count += len(parts[-1])
        if count == LOOKED_AT:
            break
    if count == 0:
        raise InputError.mismatch(
            expected="inputs in --data", got="none", fix="name others, or leave it out for random ones"
        )
    return np.concatenate(parts)
