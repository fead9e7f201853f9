from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from nip_evaluate.baselines import Laboratory
from nip_evaluate.given.material import Material
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.given.target import Target, open_target
from nip_evaluate.report.page import measure_latency
from nip_evaluate.run import run_evaluation
from nip_evaluate.stages import views as look
from nip_evaluate.terms.results import Evaluation, Latency
from nip_evaluate.terms.threats import Images, Threat
from nip_export import ExportConfig, export_defended
from nip_export.data import ImageSet
from nip_export.demo.example import load_example
from nip_export.fit.benign import prepare
from nip_export.support.progress import Advance
from nip_runtime.session import DefendedSession
from tests.export.networks import Net, net

PROFILE, CALIBRATION, TEST = 400, 300, 30
PLAN = EvaluationPlan(
    quick=True,
    attacks=("FGSM 8/255", "PGD 8/255", "C&W κ=0"),
    adaptive_eps=(8 / 255,),
    caps={"C&W": 8, "T3": 3, "T4": 4},
    seed=5,
)
SHORT = EvaluationPlan(
    threats=(Threat.GRAY_BOX,), attacks=("FGSM 8/255", "FGSM 16/255", "BIM"), baselines=False, seed=5
)


@dataclass(frozen=True, eq=False)
class Made:
    """A defended file and what it was made from."""

    path: Path
    plain: Path
    material: Material
    config: ExportConfig

    @property
    def alone(self) -> Material:
        """The same without the images that calibrated baselines need."""
        return replace(self.material, profile=None, calibration=None)

    @property
    def images(self) -> Images:
        return self.material.test_inputs((0.0, 1.0)).inputs

    def target(self) -> Target:
        return open_target(self.path, self.material.model, self.images)

    def laboratory(self) -> Laboratory:
        """With the short ascent of the export."""
        profile, calibration = self.material.profile, self.material.calibration
        assert profile is not None and calibration is not None
        sets = prepare(profile.images, profile.labels, (calibration.images, calibration.labels), self.config)
        return Laboratory(self.material.model, *sets, self.config, given=self.target().spec)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished evaluation and where it was written."""

    evaluation: Evaluation
    out: Path
    plan: EvaluationPlan
    path: Path
    material: Material


@dataclass
class Stages:
    """Progress that remembers the attacks crafted, and may be interrupted at one of them."""

    stop_at: str | None = None
    crafted: list[str] = field(default_factory=list)

    def __call__(self, title: str, total: int) -> Advance:
        kind, _, name = title.partition(": ")
        if kind == "attack":
            if name == self.stop_at:
                raise KeyboardInterrupt
            self.crafted.append(name)
        return lambda done: None


def export(folder: Path, model_of: Material, config: ExportConfig) -> Made:
    """Write a defended file and the plain one beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    profile, calibration = model_of.profile, model_of.calibration
    assert profile is not None and calibration is not None
    made = Made(folder / "model.nip.onnx", folder / "plain.onnx", model_of, config)
    export_defended(
        model_of.model,
        profile.images,
        profile.labels,
        made.path,
        calibration=(calibration.images, calibration.labels),
        config=config,
        plain_path=made.plain,
    )
    return made


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The embedded example, exported with a short ascent."""
    example = load_example()
    material = Material(
        model=example.model,
        test=example.test.take(np.arange(TEST)),
        surrogate=example.surrogate,
        profile=example.profile.take(np.arange(PROFILE)),
        calibration=example.calibration.take(np.arange(CALIBRATION)),
    )
    config = ExportConfig(
        mean=example.mean,
        std=example.std,
        class_names=example.class_names,
        benign_budget=0.05,
        ascent_steps=6,
        seed=1,
    )
    return export(tmp_path_factory.mktemp("example"), material, config)


@pytest.fixture(scope="session")
def finished(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All threats, all baselines, on few images, with a short look at the time; nothing is replaced."""
    out = tmp_path_factory.mktemp("finished") / "deep" / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "measure_latency", partial(measure_latency, rounds=3, runs_per_round=2))
        evaluation = run_evaluation(made.path, made.material, out, plan=PLAN, laboratory=made.laboratory())
    return Run(evaluation, out, PLAN, made.path, made.material)


@pytest.fixture(scope="session")
def session(made: Made) -> Iterator[DefendedSession]:
    """The file, opened once more."""
    with DefendedSession(made.path, device="cpu", threads=1) as opened:
        yield opened


@pytest.fixture
def no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency takes seconds, and is measured elsewhere."""

    def measured(plain: Path, defended: Path, images: Images, *, batch: int) -> Latency:
        assert plain.exists() and defended.exists() and batch <= len(images)
        return Latency(batch=batch, plain_ms=1.0, defended_ms=2.0, ratio=2.0, rounds=1)

    monkeypatch.setattr(look, "measure_latency", measured)


@dataclass(frozen=True, eq=False)
class Quick:
    """Exports networks that train in seconds, each once; all take inputs in [0, 1]."""

    folder: Path
    trained: dict[str, Material] = field(default_factory=dict)
    made: dict[tuple[str, str], Made] = field(default_factory=dict)

    def export(self, name: str, tag: str, **settings: object) -> Made:
        case = self._case(name)
        key = (name, tag)
        if key not in self.made:
            config = case.config(**settings)
            self.made[key] = export(self.folder / name / tag, self._material(case), config)
        return self.made[key]

    def _case(self, name: str) -> Net:
        case = net(name)
        if case.bounds == (0.0, 1.0):
            return case
        low, high = case.bounds
        before = case.prepare
        return replace(
            case,
            prepare=lambda images: ((before(images) - low) / (high - low)).astype(np.float32),
            bounds=(0.0, 1.0),
        )

    def _material(self, case: Net) -> Material:
        if case.name not in self.trained:
            images, labels = case.split("calibration", 600)
            test, truth = case.split("test", TEST)
            self.trained[case.name] = Material(
                model=case.train(),
                test=ImageSet(test, truth),
                profile=ImageSet(images[:300], labels[:300]),
                calibration=ImageSet(images[300:], labels[300:]),
            )
        return self.trained[case.name]


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Quick:
    return Quick(tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="session")
def typed(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a command line names: weights, test images and those the file was made from."""
    folder = tmp_path_factory.mktemp("typed")
    save_file(made.material.model.state_dict(), folder / "weights.safetensors")
    assert made.material.surrogate is not None
    save_file(made.material.surrogate.state_dict(), folder / "surrogate.safetensors")
    for name in ("test", "profile", "calibration"):
        images: ImageSet = getattr(made.material, name)
        np.savez(folder / f"{name}.npz", images=images.images, labels=images.labels)
    return folder
