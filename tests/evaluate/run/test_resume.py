"""Finished attacks are kept: what was stopped goes on, and what changed is made anew."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.given.store import AttackStore
from nip_evaluate.report.numbers import to_json
from nip_evaluate.run import run_evaluation
from nip_evaluate.stages.attackers import planned_cases
from nip_evaluate.stages.craft import Crafter
from nip_evaluate.terms.results import Evaluation
from nip_evaluate.terms.threats import AttackCase, Norm, Threat
from nip_export.support.progress import Advance
from tests.evaluate.run.conftest import SHORT, Made, Run, Stages

ATTACKS = ["T1 FGSM 8/255", "T1 FGSM 16/255", "T1 BIM 8/255"]


def numbers(evaluation: Evaluation) -> dict[str, Any]:
    """The report without what a clock says."""
    content = to_json(evaluation)
    del content["subject"]["created"]
    for attack in content["attacks"]:
        del attack["seconds"]
    return content


def run(made: Made, out: Path, stages: Stages) -> Evaluation:
    return run_evaluation(made.path, made.alone, out, plan=SHORT, progress=stages)


@pytest.fixture(scope="module")
def uninterrupted(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nip_evaluate.stages.views.Views.latency", lambda views: ())
        stages = Stages()
        evaluation = run(made, out, stages)
    assert stages.crafted == ATTACKS
    return Run(evaluation, out, SHORT, made.path, made.alone)


@pytest.fixture
def no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nip_evaluate.stages.views.Views.latency", lambda views: ())


@pytest.mark.usefixtures("no_latency")
def test_a_stopped_run_goes_on_where_it_was(made: Made, uninterrupted: Run, tmp_path: Path) -> None:
    stopped, resumed, third = Stages(stop_at=ATTACKS[1]), Stages(), Stages()
    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path / "out", stopped)
    assert stopped.crafted == ATTACKS[:1]
    assert not (tmp_path / "out" / "report.json").exists()
    assert not (tmp_path / "out" / "report.html").exists()
    evaluation = run(made, tmp_path / "out", resumed)
    assert resumed.crafted == ATTACKS[1:]
    assert numbers(evaluation) == numbers(uninterrupted.evaluation)
    again = run(made, tmp_path / "out", third)
    assert third.crafted == []
    assert [attack.seconds for attack in again.attacks] == [attack.seconds for attack in evaluation.attacks]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for index in range(200, 260):
        content[index] ^= 0xFF
    path.write_bytes(bytes(content))


def other(path: Path) -> None:
    np.savez(path, something=np.zeros(3))


@pytest.mark.usefixtures("no_latency")
@pytest.mark.parametrize("damage", [cut, empty, flipped, other])
def test_a_damaged_attack_is_made_again(
    made: Made,
    uninterrupted: Run,
    tmp_path: Path,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "out"
    shutil.copytree(uninterrupted.out, out)
    (path,) = (out / "attacks").glob("T1-fgsm-16-255-*.npz")
    damage(path)
    stages = Stages()
    with caplog.at_level(logging.WARNING):
        evaluation = run(made, out, stages)
    assert stages.crafted == [ATTACKS[1]]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged; running FGSM 16/255 again"
    ]
    assert numbers(evaluation) == numbers(uninterrupted.evaluation)
    with np.load(path) as stored:
        assert set(stored) == {"images", "seconds", "queries"}


class Scaled(nn.Module):
    """A victim with one weight."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :3] * self.weight


def counted(calls: list[int]) -> AttackCase:
    def craft(victim: nn.Module, images: Tensor, labels: Tensor, seed: int, advance: Advance) -> Tensor:
        calls.append(seed)
        return (images + 0.01).clamp(0, 1)

    return AttackCase(
        name="shift",
        family="shift",
        threat=Threat.GRAY_BOX,
        library="nip_export",
        source="–",
        settings="once",
        norm=Norm.LINF,
        epsilon=0.01,
        craft=craft,
    )


def silent(title: str, total: int) -> Advance:
    return lambda done: None


def test_whatever_decides_an_attack_makes_another_file(tmp_path: Path) -> None:
    calls: list[int] = []
    case, store = counted(calls), AttackStore(tmp_path)
    images, labels = np.full((4, 1, 2, 2), 0.5, np.float32), np.zeros(4, np.int64)
    crafter, victim = Crafter(store, images, labels, 0, silent), Scaled(1.0)

    def crafts(crafter: Crafter, case: AttackCase, victim: nn.Module, digest: str | None = None) -> bool:
        before = len(calls)
        crafter.craft([case], victim, victim_digest=digest)
        return len(calls) > before

    assert crafts(crafter, case, victim)
    assert not crafts(crafter, case, victim), "nothing changed"
    assert not crafts(crafter, case, Scaled(1.0)), "an equal victim"
    nudged = images.copy()
    nudged[3, 0, 1, 1] = 0.501
    changed: list[tuple[Crafter, AttackCase, nn.Module, str | None]] = [
        (replace(crafter, seed=1), case, victim, None),
        (crafter, replace(case, epsilon=0.02), victim, None),
        (crafter, replace(case, settings="twice"), victim, None),
        (crafter, replace(case, threat=Threat.TRANSFER), victim, None),
        (crafter, case, Scaled(2.0), None),
        (crafter, case, victim, "sha256:of a file"),
        (crafter, replace(case, images=3), victim, None),
        (replace(crafter, images=nudged), case, victim, None),
        (replace(crafter, labels=labels + 1), case, victim, None),
    ]
    for number, (who, what, whom, digest) in enumerate(changed):
        assert crafts(who, what, whom, digest), number
        assert not crafts(who, what, whom, digest), number


def test_a_quick_attack_is_not_taken_for_the_full_one(tmp_path: Path) -> None:
    store = AttackStore(tmp_path)

    def paths(plan: EvaluationPlan) -> dict[str, Path]:
        cases = planned_cases(plan)
        return {
            case.name: store.path(replace(case, images=9), victim="v", images="i", seed=0)
            for case in (*cases[Threat.QUERY], *cases[Threat.ADAPTIVE])
        }

    full, quick = paths(EvaluationPlan()), paths(EvaluationPlan(quick=True))
    shared = full.keys() & quick.keys()
    assert len(shared) >= 10
    assert not [name for name in shared if full[name] == quick[name]]
