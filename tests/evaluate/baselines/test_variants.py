from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_evaluate.baselines import Laboratory, VariantKind, variant_view
from nip_evaluate.baselines.variants import BANKS, ONE_PASS, PARTS_OF_VIEWS, SILENCED, VIEWS, shuffled
from nip_evaluate.terms.answers import twin_view
from nip_evaluate.terms.threats import Images
from nip_export.defence.spec import DefenceSpec, Gate
from nip_export.fit.benign import Benign
from nip_export.fit.layers import choose_readouts
from nip_export.fit.profiles import InfluenceProfile
from nip_export.pipeline import calibrate_gate, chosen_view, inverse_bank, known_of, second_pass
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy, ViewStep
from tests.evaluate.baselines.conftest import Stand

BUDGET = 0.02
OF_COLOURS_AND_JPEG = (*PARTS_OF_VIEWS, VariantKind.NO_GRAIN)
GUARDED = tuple(
    kind for kind in VariantKind if kind is not VariantKind.ALWAYS and kind not in OF_COLOURS_AND_JPEG
)
"""Variants of a file for grey images that were not stored as JPEG."""


@pytest.fixture(scope="module")
def exported(laboratory: Laboratory) -> DefenceSpec:
    """The defence as the pipeline makes it, without the file."""
    bench = laboratory.bench
    readouts, _ = choose_readouts(
        bench.early_grids,
        bench.profile_pass,
        bench.profile.labels,
        bench.calibration_pass,
        bench.calibration.labels,
        count=bench.config.early_readouts,
    )
    rho = inverse_bank(bench, bench.influence_profiles()[bench.plan.features])
    known = known_of(bench, readouts)
    view, bank, _ = chosen_view(bench, known, rho)
    calibration = calibrate_gate(bench, known, second_pass(bench, known, view, bank))
    return DefenceSpec(
        policy=Policy.GUARDED,
        classes=bench.classes,
        bounds=bench.bounds,
        readouts=readouts,
        typicality=known.typicality,
        gate=calibration.gate,
        view=view,
        bank=bank,
    )


def numbers(gate: Gate) -> list[NDArray[Any]]:
    curves = (
        gate.disagreement_tail,
        gate.typicality_tail,
        gate.response_tail,
        gate.change_tail,
        gate.suspicion,
    )
    scales = (gate.disagreement_scale, gate.typicality_scale, gate.response_scale, gate.change_scale)
    return [
        np.array([gate.flag_threshold, gate.screen_threshold or np.nan, gate.early_weight]),
        *(array for curve in curves for array in (curve.knots, curve.slopes, np.array(curve.base))),
        *(array for scale in scales for array in (scale.mean, scale.inverse_std)),
    ]


def same(first: Gate, second: Gate) -> bool:
    pairs = zip(numbers(first), numbers(second), strict=True)
    return all(a.shape == b.shape and np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def test_the_file_itself_is_what_the_pipeline_makes(laboratory: Laboratory, exported: DefenceSpec) -> None:
    spec = laboratory.variant(VariantKind.FILE, BUDGET).spec
    assert same(spec.gate, exported.gate)
    np.testing.assert_array_equal(spec.bank.steps, exported.bank.steps)
    assert spec.view == exported.view
    for mine, theirs in zip(spec.readouts, exported.readouts, strict=True):
        assert mine.tap == theirs.tap
        np.testing.assert_array_equal(mine.weight, theirs.weight)


def test_a_given_file_keeps_its_parts_at_any_budget(stand: Stand, exported: DefenceSpec) -> None:
    marked = replace(exported, bank=replace(exported.bank, steps=np.full_like(exported.bank.steps, 64)))
    given = Laboratory(stand.example.model, stand.profile, stand.calibration, stand.config, given=marked)
    low, high = (given.variant(VariantKind.FILE, budget).spec for budget in (BUDGET, 0.1))
    for spec in (low, high):
        assert spec.readouts is marked.readouts and spec.bank is marked.bank
    assert high.gate.flag_threshold < low.gate.flag_threshold
    np.testing.assert_array_equal(low.gate.response_scale.mean, high.gate.response_scale.mean)
    assert np.abs(given.variant(VariantKind.RANDOM_PATTERN, BUDGET).spec.bank.steps).min() == 64
    same_bank = Laboratory(
        stand.example.model, stand.profile, stand.calibration, stand.config, given=exported
    )
    assert same(same_bank.variant(VariantKind.FILE, BUDGET).spec.gate, exported.gate)


def test_without_read_outs_the_logits_stand_in_and_always_is_left_out(
    stand: Stand, exported: DefenceSpec
) -> None:
    doubtful = replace(exported, readouts=(), gate=replace(exported.gate, early_weight=0.0))
    given = Laboratory(stand.example.model, stand.profile, stand.calibration, stand.config, given=doubtful)
    assert VariantKind.ALWAYS not in given.kinds and VariantKind.FILE in given.kinds
    variant = given.variant(VariantKind.FILE, BUDGET)
    assert variant.spec.readouts == () and variant.spec.gate.early_weight == 0
    answers = given.defence(variant).answer(stand.images)
    assert answers.flagged is not None and not answers.flagged.all()


def test_the_random_pattern_is_as_long_in_every_norm(laboratory: Laboratory) -> None:
    own = laboratory.variant(VariantKind.WITH_RHO, BUDGET).spec.bank
    other = laboratory.variant(VariantKind.RANDOM_PATTERN, BUDGET).spec.bank
    against = laboratory.variant(VariantKind.MINUS_RHO, BUDGET).spec.bank
    assert own.adds
    np.testing.assert_array_equal(against.dense(), -own.dense())
    assert not laboratory.variant(VariantKind.WITHOUT_RHO, BUDGET).spec.bank.adds
    np.testing.assert_array_equal(np.abs(own.dense()), np.abs(other.dense()))
    assert 0.4 < (own.steps == other.steps)[own.steps != 0].mean() < 0.6
    again = laboratory.reseeded(1).variant(VariantKind.RANDOM_PATTERN, BUDGET).spec.bank
    assert (again.steps != other.steps).any()
    np.testing.assert_array_equal(np.abs(again.steps), np.abs(other.steps))


def test_shuffled_profiles_have_the_same_influences_on_other_neurons() -> None:
    influence = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32)
    profile = InfluenceProfile("features", influence, np.ones(3, np.int64), 5)
    other = shuffled(profile, 0)
    np.testing.assert_array_equal(np.sort(other.influence, 1), np.sort(influence, 1))
    assert (other.front != profile.front).any(1).all()
    np.testing.assert_array_equal(other.influence, shuffled(profile, 0).influence)


def test_shuffled_profiles_give_another_perturbation(laboratory: Laboratory) -> None:
    own = laboratory.variant(VariantKind.WITH_RHO, BUDGET)
    other = laboratory.variant(VariantKind.SHUFFLED_PROFILES, BUDGET)
    assert (own.spec.bank.steps != other.spec.bank.steps).mean() > 0.2
    largest = np.abs(own.spec.bank.dense()).max()  # of so few steps, below ε
    assert np.abs(other.spec.bank.dense()).max() == pytest.approx(largest, rel=0.02)
    assert not same(own.spec.gate, other.spec.gate)


def test_the_early_readout_alone_never_sees_a_second_pass(laboratory: Laboratory, stand: Stand) -> None:
    variant = laboratory.variant(VariantKind.EARLY_ALONE, 0.1)
    assert variant.calibration.pass2_rate.count == 0
    assert variant.passes == 1 and not variant.spec.bank.steps.any()
    view = variant_view(variant, stand.calibration.inputs)
    loud = replace(variant.spec.bank, steps=np.full_like(variant.spec.bank.steps, 127))
    variant_twin = type(variant.twin)(variant.twin.network, replace(variant.spec, bank=loud))
    again = twin_view(variant_twin, stand.calibration.inputs)
    np.testing.assert_array_equal(view.score, again.score)
    np.testing.assert_array_equal(view.corrected_labels, again.corrected_labels)
    flagged = view.flagged(variant.spec.gate.flag_threshold)
    correct = view.raw_labels == stand.calibration.labels
    assert 0 < flagged[correct].mean() <= 0.1


def test_all_rows_take_both_passes(laboratory: Laboratory, stand: Stand) -> None:
    every = laboratory.variant(VariantKind.EVERY_ROW, BUDGET)
    own = laboratory.variant(VariantKind.FILE, BUDGET)
    assert every.spec.gate.screen_threshold is None and every.spec.bank is own.spec.bank
    assert variant_view(every, stand.images).flaggable.all()
    assert variant_view(own, stand.calibration.inputs).flaggable.mean() < 0.6


@pytest.mark.parametrize("kind", GUARDED)
def test_thresholds_keep_the_budget_on_calibration_images(
    laboratory: Laboratory, stand: Stand, kind: VariantKind
) -> None:
    variant = laboratory.variant(kind, 0.1)
    answers = laboratory.defence(variant).answer(stand.calibration.inputs)
    assert answers.flagged is not None
    correct = answers.raw_labels == stand.calibration.labels
    assert 0 < answers.flagged[correct].mean() <= 0.1
    np.testing.assert_array_equal(answers.labels != answers.raw_labels, answers.flagged)
    view = variant_view(variant, stand.calibration.inputs)
    np.testing.assert_array_equal(view.labels(variant.spec.gate.flag_threshold), answers.labels)


TESTS = ("disagreement", "typicality", "response", "change")


@pytest.mark.parametrize("kind", list(VariantKind))
def test_a_variant_silences_the_tests_that_it_leaves_out_and_no_others(
    kind: VariantKind, exported: DefenceSpec
) -> None:
    changed = kind.change(exported.gate)
    for test in TESTS:
        before, after = (getattr(gate, f"{test}_tail") for gate in (exported.gate, changed))
        if test in SILENCED.get(kind, ()):
            assert after.base == 0 and not after.slopes.any()
        else:
            np.testing.assert_array_equal(after.slopes, before.slopes)
            assert after.base == before.base and before.slopes.any()
    assert set(SILENCED.get(kind, ())) < set(TESTS)


@pytest.mark.parametrize("kind", sorted(set(GUARDED) - {VariantKind.FILE}))
def test_a_variant_differs_from_the_file_where_it_says(laboratory: Laboratory, kind: VariantKind) -> None:
    own, other = (laboratory.variant(each, BUDGET).spec for each in (VariantKind.FILE, kind))
    shown = (other.view, other.bank.steps.tobytes())
    assert other.readouts == own.readouts and other.typicality is own.typicality
    if kind in VIEWS:
        assert other.view == VIEWS[kind]
    elif kind in ONE_PASS:
        assert other.view == () and not other.bank.adds
    elif kind in BANKS:
        assert other.view == own.view
    else:
        assert shown == (own.view, own.bank.steps.tobytes())
    screened = other.gate.screen_threshold is not None
    assert screened != (kind in (*ONE_PASS, VariantKind.EVERY_ROW, VariantKind.RESPONSE_ALONE))


def test_a_round_trip_is_left_out_or_left_alone_where_the_view_begins_with_one(stand: Stand) -> None:
    made = Laboratory(
        stand.example.model, stand.profile, stand.calibration, replace(stand.config, view="jpeg75+mirror")
    )
    own = made.variant(VariantKind.FILE, BUDGET).spec
    assert own.view == (ViewStep.JPEG_75, ViewStep.MIRROR)
    assert set(PARTS_OF_VIEWS) < set(made.kinds) and VariantKind.NO_GRAIN not in made.kinds
    alone, without = (made.variant(kind, BUDGET).spec for kind in PARTS_OF_VIEWS)
    assert (alone.view, without.view) == ((ViewStep.JPEG_75,), (ViewStep.MIRROR,))
    for spec in (alone, without):
        assert spec.gate.screen_threshold is not None and spec.bank.adds == own.bank.adds
        assert spec.gate.flag_threshold != own.gate.flag_threshold, "refitted"


def test_a_file_without_colours_or_jpeg_has_no_such_variants(laboratory: Laboratory) -> None:
    assert not set(OF_COLOURS_AND_JPEG) & set(laboratory.kinds)


def test_without_grain_the_screen_sees_the_free_tests_alone(exported: DefenceSpec) -> None:
    minding = replace(exported.gate, grain_tail=exported.gate.typicality_tail)
    changed = VariantKind.NO_GRAIN.change(minding)
    assert changed.grain_tail is None and changed.typicality_tail is minding.typicality_tail
    assert VariantKind.NO_CHANGE.change(minding).grain_tail is minding.grain_tail


def test_passes_made_once_answer_as_the_twin_does(laboratory: Laboratory, stand: Stand) -> None:
    for kind in (VariantKind.FILE, VariantKind.MEDIAN, VariantKind.TYPICALITY_ALONE):
        variant = laboratory.variant(kind, 0.1)
        ours, twins = laboratory.view(variant, stand.images), variant_view(variant, stand.images)
        np.testing.assert_allclose(ours.score, twins.score, rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(ours.raw_labels, twins.raw_labels)
        np.testing.assert_array_equal(ours.flaggable, twins.flaggable)
        np.testing.assert_array_equal(ours.corrected_labels, twins.corrected_labels)


@pytest.mark.parametrize("kind", [VariantKind.FILE, VariantKind.MIRROR, VariantKind.NO_TYPICALITY])
def test_pgd_is_found_and_corrected(
    laboratory: Laboratory, stand: Stand, attacked: Images, kind: VariantKind
) -> None:
    defence = laboratory.defence(laboratory.variant(kind, 0.1))
    benign, under_attack = defence.answer(stand.images), defence.answer(attacked)
    hit = (benign.raw_labels == stand.labels) & (under_attack.raw_labels != stand.labels)
    assert hit.sum() >= 15 and under_attack.flagged is not None
    assert under_attack.flagged[hit].mean() > 0.3
    assert (under_attack.labels == stand.labels)[hit].mean() > 0.3


def test_always_answers_under_the_perturbation_of_the_hypothesis(
    laboratory: Laboratory, stand: Stand
) -> None:
    variant = laboratory.variant(VariantKind.ALWAYS, BUDGET)
    assert variant.spec.policy is Policy.ALWAYS and len(variant.spec.bank.steps) == 10
    answers = laboratory.defence(variant).answer(stand.images)
    assert answers.flagged is None and variant.passes == 2
    bench = laboratory.bench
    hypothesis = variant.twin.evidence  # read-outs on tapped activations
    outputs = variant.twin(bench.example)
    raw, *activations = bench.network(bench.example)
    named = dict(zip(bench.network.taps, activations, strict=True))
    rows = hypothesis(raw, named).argmax(1)
    moved = (bench.example + variant.twin.bank[rows]).clamp(0, 1)
    np.testing.assert_allclose(
        outputs.logits.detach(), bench.network(moved)[0].detach(), rtol=1e-4, atol=1e-4
    )
    with pytest.raises(ExportError, match="'always', which has none"):
        laboratory.budget_for_cost(VariantKind.ALWAYS, 0.02)


def test_answers_do_not_depend_on_the_batch(laboratory: Laboratory, stand: Stand) -> None:
    defence = laboratory.defence(laboratory.variant(VariantKind.FILE, 0.1))
    together = defence.answer(stand.images)
    parts = [defence.answer(stand.images[start : start + 9]) for start in range(0, 40, 9)]
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts]), together.labels)


def test_a_budget_costs_no_further_pass(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    laboratory.variant(VariantKind.FILE, BUDGET)

    def refused(*_: object) -> None:
        raise AssertionError("another pass")

    monkeypatch.setattr("nip_evaluate.baselines.laboratory.inverse_bank", refused)
    monkeypatch.setattr("nip_export.fit.bench.run_network", refused)
    monkeypatch.setattr("nip_evaluate.baselines.laboratory.second_pass", refused)
    assert laboratory.variant(VariantKind.FILE, 0.07).budget == 0.07


def test_a_defence_of_another_model_is_refused(
    stand: Stand, laboratory: Laboratory, exported: DefenceSpec
) -> None:
    def open_with(spec: DefenceSpec) -> Laboratory:
        few = Benign(stand.profile.source, stand.profile.inputs[:100], stand.profile.labels[:100])
        return Laboratory(stand.example.model, few, few, stand.config, given=spec)

    with pytest.raises(ExportError, match=r"and 10 classes, as the model has, got one for .* and 11;"):
        open_with(replace(exported, classes=11))
    (readout,) = exported.readouts
    with pytest.raises(ExportError, match=r"expected a tapped layer 'elsewhere' .* got no such layer"):
        open_with(replace(exported, readouts=(replace(readout, tap="elsewhere"),)))
