"""What does not belong together is refused in one line, before anything is attacked or written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nip_evaluate.given.material import Material, refuse_known_images
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.run import run_evaluation
from nip_evaluate.stages.attackers import planned_cases
from nip_evaluate.terms.threats import Threat
from nip_export.data import ImageSet
from nip_export.demo.model import SmallVgg
from nip_export.fit.benign import at_the_door
from nip_runtime.errors import ArtifactError, InputError, NipError
from tests.evaluate.run.conftest import SHORT, Made, Quick, Stages


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """Something amiss: which file and material, and what the error must say."""

    path: Callable[[Made], Path] = lambda made: made.path
    material: Callable[[Made], Material]
    plan: EvaluationPlan = SHORT
    kind: type[NipError] = InputError
    says: tuple[str, ...]


def other_weights() -> SmallVgg:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        return SmallVgg().eval()


def first(images: ImageSet | None, count: int) -> ImageSet:
    assert images is not None
    return images.take(np.arange(count))


def with_test(made: Made, images: np.typing.NDArray[np.uint8], labels: object = None) -> Material:
    chosen = made.material.test.labels if labels is None else np.asarray(labels, np.int64)
    return replace(made.alone, test=ImageSet(images, chosen))


WRONG = {
    "other weights": Wrong(
        material=lambda made: replace(made.alone, model=other_weights()),
        says=("expected the network that", "got weights sha256:", "same --model and --weights"),
    ),
    "another architecture": Wrong(
        material=lambda made: replace(made.alone, model=made.material.surrogate or nn.Identity()),
        says=("expected the network that", "got weights sha256:"),
    ),
    "a plain file": Wrong(
        path=lambda made: made.plain,
        material=lambda made: made.alone,
        kind=ArtifactError,
        says=("plain ONNX",),
    ),
    "no file": Wrong(
        path=lambda made: made.path.with_name("absent.onnx"),
        material=lambda made: made.alone,
        kind=NipError,
        says=("absent.onnx",),
    ),
    "images of another shape": Wrong(
        material=lambda made: with_test(made, made.material.test.images[:, :20, :20].astype(np.uint8)),
        says=("images of shape (1, 28, 28)", "of (1, 20, 20)", "as for nip export"),
    ),
    "labels beyond the classes": Wrong(
        material=lambda made: with_test(
            made, made.material.test.images.astype(np.uint8), made.material.test.labels + 1
        ),
        says=("labels below 10", "got 10", "number the classes"),
    ),
    "one image": Wrong(
        material=lambda made: replace(made.alone, test=first(made.material.test, 1)),
        says=("at least 2 test images", "got 1"),
    ),
    "the calibration images": Wrong(
        material=lambda made: replace(made.alone, test=made.material.calibration or made.material.test),
        says=("test images that the file was not made from", "300 of 300", "--data"),
    ),
    "the profile images": Wrong(
        material=lambda made: replace(made.alone, test=made.material.profile or made.material.test),
        says=("test images that the file was not made from", "400 of 400"),
    ),
    "some of the profile images": Wrong(
        material=lambda made: replace(made.material, test=first(made.material.profile, 50)),
        says=("test images that the file was not made from", "50 of 50"),
    ),
    "other profile images": Wrong(
        material=lambda made: replace(made.material, profile=first(made.material.profile, 350)),
        says=("profile images that the file was made from", "got others", "--calibration, or leave both out"),
    ),
    "calibration images left out": Wrong(
        material=lambda made: replace(made.material, calibration=None),
        says=("images that the file was made from", "got others", "--calibration"),
    ),
    "a surrogate for other classes": Wrong(
        material=lambda made: replace(made.alone, surrogate=nn.Sequential(nn.Flatten(), nn.Linear(784, 7))),
        plan=replace(SHORT, threats=(Threat.GRAY_BOX, Threat.TRANSFER)),
        says=("surrogate for 10 classes", "got 7 logits", "same classes"),
    ),
    "an unknown attack": Wrong(
        material=lambda made: made.alone,
        plan=replace(SHORT, attacks=("FGSM 8/255", "Carlini")),
        says=("an attack among", "'Carlini'", "spelling"),
    ),
    "an unknown attack, adaptive attackers only": Wrong(
        material=lambda made: made.alone,
        plan=replace(SHORT, threats=(Threat.ADAPTIVE,), attacks=("Carlini",)),
        says=("an attack among", "'Carlini'"),
    ),
    "an ε on the scale of 255": Wrong(
        material=lambda made: made.alone, plan=replace(SHORT, eps=(8.0,)), says=("(0, 1]", "got 8", "by 255")
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_line_says_what_is_wrong_and_nothing_is_written(name: str, made: Made, tmp_path: Path) -> None:
    wrong, stages = WRONG[name], Stages()
    with pytest.raises(wrong.kind) as raised:
        run_evaluation(
            wrong.path(made), wrong.material(made), tmp_path / "out", plan=wrong.plan, progress=stages
        )
    message = str(raised.value)
    for part in wrong.says:
        assert part in message
    assert len(message.splitlines()) == 1
    assert stages.crafted == []
    assert list(tmp_path.iterdir()) == []


def test_out_is_a_file(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(InputError, match=r"expected a folder to write to, got the file .*--out"):
        run_evaluation(made.path, made.alone, out, plan=SHORT)
    assert out.read_text() == "mine"


def test_inputs_within_other_bounds_than_the_file_s_are_refused(quick: Quick, tmp_path: Path) -> None:
    made = quick.export("mlp", "wide", bounds=(-1.0, 1.0))
    with pytest.raises(
        InputError, match=r"within \(-1\.0, 1\.0\), the file's bounds, got bounds \(0\.0, 1\.0\)"
    ):
        run_evaluation(made.path, made.alone, tmp_path / "out", plan=SHORT)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_the_export_split_itself_is_known_again(made: Made, quick: Quick, tmp_path: Path) -> None:
    from nip_export import export_defended

    mlp = quick.export("mlp", "guarded")
    profile = mlp.material.profile
    assert profile is not None
    path = tmp_path / "split.onnx"
    export_defended(
        mlp.material.model,
        profile.images,
        profile.labels,
        path,
        config=replace(mlp.config, calibration_fraction=0.4),
    )
    with pytest.raises(InputError, match="test images that the file was not made from, got 300 of 300"):
        run_evaluation(path, replace(mlp.alone, test=profile), tmp_path / "out", plan=SHORT)


def test_a_stray_duplicate_is_named_but_not_refused(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    calibration, test = made.material.calibration, made.material.test
    assert calibration is not None
    many = np.concatenate([np.repeat(test.images, 5, 0), calibration.images[:1]]).astype(np.uint8)
    material = replace(made.material, test=ImageSet(many, np.zeros(len(many), np.int64)))
    assert len(at_the_door(material.test).inputs) == 151
    with caplog.at_level(logging.WARNING):
        refuse_known_images(made.target(), material)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 151 test images are among those the file was made from"
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"threats": ()}, "at least one of T1 to T4"),
        ({"threats": (Threat.ADAPTIVE, Threat.ADAPTIVE)}, "each once, got T4, T4"),
        ({"attacks": ()}, "attacks: at least one"),
        ({"eps": ()}, "eps: positive"),
        ({"eps": (0.0,)}, "eps: positive"),
        ({"eps": (float("nan"),)}, "eps: positive"),
        ({"adaptive_eps": ()}, r"adaptive_eps: at least one, each in \(0, 1\]"),
        ({"adaptive_eps": (8.0,)}, r"adaptive_eps.*by 255, or leave T4 out"),
        ({"adaptive_images": 0}, "adaptive_images: at least 1"),
        ({"images": 1}, "images: at least 2, got 1"),
        ({"seed": -1}, "seed: 0 or more, got -1"),
        ({"caps": {"T4": 0}}, "at least one image each"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_at_birth(change: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        EvaluationPlan(**change)  # type: ignore[arg-type]  # of every kind


def test_caps_hold_for_names_families_and_threats_and_never_raise() -> None:
    plan = EvaluationPlan(caps={"C&W κ=0": 9, "C&W": 20, "T4": 7, "JSMA": 900, "T2": 11})
    cases = {case.name: case.images for cases in planned_cases(plan).values() for case in cases}
    assert cases["C&W κ=0"] == 9
    assert cases["C&W κ=5"] == cases["C&W κ=20"] == 20
    assert cases["JSMA"] == 200, "what it states itself"
    assert cases["PGD 8/255"] is None
    assert {images for name, images in cases.items() if name.startswith("adaptive")} == {7}
    assert {images for name, images in cases.items() if name.startswith("transfer")} == {11}


def test_other_sizes_replace_the_groups_own() -> None:
    plan = EvaluationPlan(quick=True, attacks=("quick",), eps=(4 / 255,))
    cases = planned_cases(plan)
    gray = [case.name for case in cases[Threat.GRAY_BOX]]
    assert gray == ["FGSM 4/255", "MI-FGSM 4/255", "PGD 4/255", "C&W κ=0"]
    assert all(case.core for case in cases[Threat.GRAY_BOX])
    transfer = [case.name for case in cases[Threat.TRANSFER]]
    assert transfer == [f"transfer: {name}" for name in gray[:3]]
