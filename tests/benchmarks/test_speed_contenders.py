"""The contenders compute what their sources say, each against a second way to get there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.speed import contenders, rivals, run
from benchmarks.speed.contenders import ABOUT, Kind, build
from benchmarks.speed.files import SpeedFiles, expected
from benchmarks.speed.networks import NETWORKS, Images, Name
from benchmarks.speed.sessions import Session, open_plain
from benchmarks.speed.targets import State
from nip_evaluate.baselines.transforms import jpeg, median
from nip_export.config import PUBLISHED_SCALE
from nip_runtime.file.manifest import Policy


@pytest.fixture(scope="module")
def session(vit_files: SpeedFiles) -> Session:
    return open_plain(vit_files.plain, threads=1)


def plain_logits(session: Session, images: Images) -> np.typing.NDArray[np.float32]:
    logits: np.typing.NDArray[np.float32] = session.run(None, {"input": images})[0]
    return logits


@pytest.mark.parametrize("policy", [Policy.GUARDED, Policy.ALWAYS], ids=str)
def test_the_eager_twin_is_the_same_defence(vit_files: SpeedFiles, session: Session, policy: Policy) -> None:
    images = vit_files.pool.batch(4, 2)
    answer = build(Kind.EAGER_TWIN, vit_files, policy, session)(images)
    wanted = expected(vit_files, policy, images).decision.logits
    np.testing.assert_allclose(answer, wanted, atol=1e-3)
    rivals.check_twin(Kind.EAGER_TWIN, answer, wanted)
    with pytest.raises(RuntimeError, match="expected the file's logits"):
        rivals.check_twin(Kind.EAGER_TWIN, answer + 0.1, wanted)


def test_the_anti_adversary_walks_away_from_the_boundary(vit_files: SpeedFiles, session: Session) -> None:
    images = vit_files.pool.batch(3, 1)
    answer = build(Kind.ANTI_ADVERSARY, vit_files, Policy.GUARDED, session)(images)
    inputs = torch.from_numpy(images)
    model = vit_files.tapped
    labels = model(inputs)[0].argmax(1)

    def gradient_of(moved: torch.Tensor) -> torch.Tensor:
        given = (inputs + moved).requires_grad_(True)
        return torch.autograd.grad(functional.cross_entropy(model(given)[0], labels), given)[0]

    moved = torch.zeros_like(inputs)
    for _ in range(2):
        moved = moved - 0.15 * gradient_of(moved).sign()
    with torch.no_grad():
        np.testing.assert_allclose(answer, model(inputs + moved)[0].numpy(), atol=1e-4)
        before, after = (
            functional.cross_entropy(z, labels) for z in (model(inputs)[0], torch.tensor(answer))
        )
    assert after < before
    assert torch.equal(torch.tensor(answer).argmax(1), labels)


def test_the_one_image_procedure_lifts_front_over_tail(vit_files: SpeedFiles, session: Session) -> None:
    images = vit_files.pool.batch(2, 1)
    answer = build(Kind.ONE_IMAGE, vit_files, Policy.GUARDED, session)(images)
    report = vit_files.reports[Policy.GUARDED]
    features, model = report.plan.features, vit_files.tapped
    profile = report.profiles[features]
    inputs = torch.from_numpy(images)

    def lift(given: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        outputs = dict(zip(("logits", *model.taps), model(given), strict=True))
        neurons = outputs[features].mean(1)  # tokens (N, T, D)
        front, tail = profile.front[labels], profile.tail[labels]
        picked = [
            neurons[row, list(front[row])].mean() - neurons[row, list(tail[row])].mean()
            for row in range(len(given))
        ]
        return torch.stack(picked)

    labels = model(inputs)[0].argmax(1)
    given = inputs.clone().requires_grad_(True)
    gradient = torch.autograd.grad(lift(given, labels).sum(), given)[0]
    size = gradient.pow(2).mean((1, 2, 3), keepdim=True).sqrt()
    moved = (inputs + PUBLISHED_SCALE * gradient / size).clamp(0, 1)
    with torch.no_grad():
        np.testing.assert_allclose(answer, model(moved)[0].numpy(), atol=1e-4)
        assert (lift(moved, labels) > lift(inputs, labels)).all()


@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.MEDIAN], ids=str)
def test_transformations_stand_before_the_plain_file(
    vit_files: SpeedFiles, session: Session, kind: Kind
) -> None:
    images = vit_files.pool.batch(2, 1)
    answer = build(kind, vit_files, Policy.GUARDED, session)(images)
    apply = (jpeg(contenders.JPEG_QUALITY) if kind is Kind.JPEG else median(contenders.MEDIAN_WINDOW)).apply
    np.testing.assert_array_equal(answer, plain_logits(session, apply(images)))
    assert not np.array_equal(answer, plain_logits(session, images))


def test_smoothing_counts_votes_of_noisy_copies(vit_files: SpeedFiles, session: Session) -> None:
    images = vit_files.pool.batch(2, 1)
    votes = build(Kind.SMOOTHING, vit_files, Policy.GUARDED, session)(images)
    assert votes.shape == (2, 10)
    np.testing.assert_array_equal(votes.sum(1), [16, 16])
    random = np.random.default_rng(0)
    for row in range(2):
        noise = random.standard_normal((16, *images.shape[1:]), dtype=np.float32)
        found = plain_logits(session, images[row] + np.float32(0.25) * noise).argmax(1)
        np.testing.assert_array_equal(votes[row], np.bincount(found, minlength=10))
    with pytest.raises(ValueError, match="at least one image"):
        contenders.smoothing(session, seed=0)(images[:0])


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = NETWORKS[Name.RESNET50], NETWORKS[Name.FASHION_VGG]
    monkeypatch.setattr(run, "can_compile", lambda: True)
    assert set(run.kinds_of(large, quick=False)) == set(run.kinds_of(small, quick=True)) == set(Kind)
    assert Kind.COMPILED_TWIN not in run.kinds_of(large, quick=True)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert set(Kind) - set(run.kinds_of(small, quick=False)) == {Kind.COMPILED_TWIN}


def test_every_contender_is_named_and_lined_up() -> None:
    assert set(ABOUT) == set(Kind)
    assert [kind for kind, _ in rivals.lineup(Kind, 1)].count(Kind.EAGER_TWIN) == 2
    alone, together = ({kind for kind, _ in rivals.lineup(Kind, batch)} for batch in rivals.BATCHES)
    assert alone == set(Kind) and together == set(Kind) - {Kind.SMOOTHING}
    assert rivals.states_of(Policy.ALWAYS) == (State.ALWAYS,)
    assert rivals.states_of(Policy.GUARDED) == (State.CALM, State.ALL)
    assert rivals.states_of(None) == rivals.FILE_STATES
