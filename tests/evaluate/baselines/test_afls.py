from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nip_evaluate.baselines import Laboratory
from nip_evaluate.baselines.afls import (
    LT,
    RLT,
    RT,
    Afls,
    concentration,
    fit_afls,
    learn,
    to_normal,
    trunk_layers,
)
from nip_evaluate.baselines.afls_parts import (
    MASKS,
    inconsistency,
    train_masks,
    train_regressors,
)
from nip_evaluate.baselines.held_out import Doubles
from nip_evaluate.baselines.memory import Memory
from nip_evaluate.baselines.network import Forward
from nip_evaluate.terms.threats import Images
from nip_runtime.errors import ExportError
from tests.evaluate.baselines.conftest import Stand

CPU = torch.device("cpu")
BUDGET = 0.1


@pytest.fixture(scope="module")
def afls(laboratory: Laboratory) -> Afls:
    return learn(laboratory.bench)


def test_concentration_by_hand() -> None:
    errors = np.array([[2.0, 2.0, 2.0], [1e3, 0.0, 0.0], [np.log(2), 0.0, np.log(1)]])
    even, one, mixed = concentration(errors)
    assert even == pytest.approx(0, abs=1e-9)
    assert one == pytest.approx(np.log(3) * np.log(1e3 / 3))
    entropy = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))  # softmax (2, 1, 1) / 4
    assert mixed == pytest.approx((np.log(3) - entropy) * np.log(np.log(2) / 3))


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, 40, elements=st.floats(-1e3, 1e3)), st.floats(-2e3, 2e3), st.floats(0, 1e3))
def test_the_map_to_a_normal_never_falls(benign: Doubles, low: float, by: float) -> None:
    first, second = to_normal(benign)(np.array([low, low + by]))
    assert np.isfinite([first, second]).all()
    assert second >= first - 1e-9


def test_the_map_to_a_normal_follows_quantiles_and_goes_straight_on() -> None:
    benign = np.arange(1001, dtype=np.float64)
    z = to_normal(benign)
    expected = [NormalDist().inv_cdf(share) for share in (0.5, 0.975, 0.025)]
    np.testing.assert_allclose(z(np.array([500.0, 975.5, 24.5])), expected, atol=1e-2)
    end, one_further = z(np.array([1000.0, 1000.0 + benign.std()]))
    assert one_further == pytest.approx(end + 1)
    tied = to_normal(np.array([1.0, 1, 1, 5]))(np.array([1.0]))
    np.testing.assert_allclose(tied, NormalDist().inv_cdf(3 / 8))


def test_inconsistency_by_hand() -> None:
    raw, masked = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    layers, moved = [torch.zeros(1, 4), torch.ones(1, 2)], [torch.full((1, 4), 0.5), torch.ones(1, 2)]
    shares = np.exp([0.0, 1.0]) / np.exp([0.0, 1.0]).sum()
    entropy = -(shares * np.log(shares)).sum()
    after = np.exp([2.0, 0.0]) / np.exp([2.0, 0.0]).sum()
    answer = np.log((after[0] ** 2 + (after[1] - 1) ** 2) / 2 * entropy)
    expected = answer - (np.log(0.25) + np.log(1e-8)) / 2  # the second layer stays as it is
    np.testing.assert_allclose(inconsistency(raw, layers, masked, moved), expected, rtol=1e-5)


def test_regressors_learn_what_follows_and_object_to_what_does_not() -> None:
    random = np.random.default_rng(0)
    deepest = random.normal(3, 2, (900, 6)).astype(np.float32)
    follows = (deepest @ random.normal(size=(6, 4))).astype(np.float32)
    unrelated = random.normal(100, 10, (900, 3)).astype(np.float32)
    seen, held = slice(700), slice(700, None)
    model = train_regressors(deepest[seen], [follows[seen], unrelated[seen]], seed=0, device=CPU)
    errors = model.errors(deepest[held], [follows[held], unrelated[held]]).mean(0)
    assert errors[0] < 0.15 * follows.var(0).sum()
    assert 0.8 < errors[1] / unrelated.var(0).sum() < 1.5
    broken = model.errors(deepest[held], [follows[held][::-1].copy(), unrelated[held]]).mean(0)
    assert broken[0] > 5 * errors[0] and broken[1] == pytest.approx(errors[1])


def test_training_follows_its_seed_and_leaves_the_random_state_alone() -> None:
    values = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, same, other = (
        train_regressors(values, [values], seed=seed, device=CPU).errors(values, [values])
        for seed in (0, 0, 1)
    )
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_masks_learn_to_move_layers_more_than_answers(afls: Afls, stand: Stand) -> None:
    assert afls.masks.shape == (MASKS, 1, 28, 28)
    assert 0.005 < np.abs(afls.masks - 1).mean() < 0.1
    assert np.abs(afls.masks[0] - afls.masks[1]).mean() > 0.005, "they are not one mask"
    start = 1 + 0.01 * np.random.default_rng(0).standard_normal(afls.masks.shape)
    begun = replace(afls, masks=start.astype(np.float32), _memory=Memory())
    assert afls.logit_layer(stand.images).mean() < begun.logit_layer(stand.images).mean() - 0.5


def test_masks_follow_their_seed_and_leave_the_network_alone(
    afls: Afls, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nip_evaluate.baselines.afls_parts.MASK_STEPS", 3)
    one, same, other = (
        train_masks(afls.network, afls.grids, stand.images, seed=seed, device=CPU) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert all(parameter.grad is None for parameter in afls.network.parameters())


def test_statistics_are_those_of_the_network_and_do_not_depend_on_the_batch(
    afls: Afls, stand: Stand, forward: Forward
) -> None:
    labels, (recovery, logit_layer) = afls.statistics(stand.images, RLT)
    np.testing.assert_array_equal(labels, forward(stand.images).argmax(1))
    for start in range(0, 40, 7):
        rows = slice(start, start + 7)
        _, parts = afls.statistics(stand.images[rows], RLT)
        np.testing.assert_allclose(parts[0], recovery[rows], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(parts[1], logit_layer[rows], rtol=1e-3, atol=1e-3)
    assert np.isfinite(recovery).all() and np.isfinite(logit_layer).all()


def test_recovery_sees_pgd(afls: Afls, stand: Stand, attacked: Images) -> None:
    benign, (usual,) = afls.statistics(stand.images, RT)
    under_attack, (found,) = afls.statistics(attacked, RT)
    hit = (benign == stand.labels) & (under_attack != stand.labels)
    assert hit.sum() >= 15
    assert (found[hit][:, None] > usual).mean() > 0.7


@pytest.mark.parametrize("name", [RT, LT, RLT])
def test_detectors_flag_rare_values_of_either_end_and_correct_nothing(
    afls: Afls, stand: Stand, name: str
) -> None:
    detector = fit_afls(afls, name)
    assert detector.passes == (1 if name == RT else 1 + MASKS)
    benign = afls.bench.calibration
    labels, statistics = afls.statistics(benign.inputs, name)
    right = labels == benign.labels
    z = [to_normal(values[right])(values) for values in statistics]
    answers = detector.defence(BUDGET).answer(benign.inputs)
    assert answers.suspicion is not None and answers.flagged is not None
    np.testing.assert_allclose(answers.suspicion, np.sum(np.square(z), 0), rtol=1e-5)
    assert 0 < answers.flagged[right].mean() <= BUDGET + 0.02
    np.testing.assert_array_equal(answers.labels, answers.raw_labels)
    if name != RLT:
        assert (z[0][answers.flagged] > 0).any() and (z[0][answers.flagged] < 0).any()


def test_layers_are_the_trunk_s_with_the_features_last(laboratory: Laboratory, afls: Afls) -> None:
    names = [grid.tap.name for grid in afls.grids]
    assert names[-1] == laboratory.bench.plan.features
    assert len(names) > len(laboratory.bench.plan.layers)
    assert all(grid.cells == 1 for grid in afls.grids)


def test_a_network_without_layers_is_refused(laboratory: Laboratory) -> None:
    bench = laboratory.bench
    second = trunk_layers(bench)[1]
    plan = replace(bench.plan, features=second.name, early=(), layers=(second,))
    with pytest.raises(ExportError, match="at least two layers before the features, got 1; leave it out"):
        learn(replace(bench, plan=plan))
