from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from nip_export.calibrate import Calibration, Known, calibrate
from nip_export.calibrate.gate import allowed_flags
from nip_export.config import ExportConfig
from nip_export.data import ImageSet
from nip_export.defence.decision import FirstLook, read_gate
from nip_export.demo.example import Example
from nip_export.fit.bench import Bench, set_up
from nip_export.fit.benign import at_the_door
from nip_export.fit.layers import choose_readouts
from nip_export.fit.opinion import known_of as known_of_bench
from nip_export.fit.perturbations import quantise
from nip_export.network.run import Passed
from nip_export.support.progress import silent
from nip_export.verify.oracle import look_again
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy, ViewStep
from nip_runtime.file.rates import Rate
from tests.maths.benign_like import known_of, statistics_of

Labels = NDArray[np.int64]
KNOWN = known_of(4)


@dataclass(frozen=True, eq=False)
class Case:
    """What `calibrate` is given; the read-out hands the drawn evidence on."""

    raw: Passed
    second: NDArray[np.float32]
    labels: Labels

    @property
    def look(self) -> FirstLook:
        return FirstLook.of(self.raw, KNOWN.readouts, KNOWN.typicality)

    def calibrate(
        self,
        *,
        budget: float = 0.05,
        screen_rate: float | None = 0.4,
        policy: Policy = Policy.GUARDED,
        seed: int = 0,
    ) -> Calibration:
        return calibrate(
            self.raw,
            self.second,
            self.labels,
            KNOWN,
            benign_budget=budget,
            screen_rate=screen_rate,
            policy=policy,
            seed=seed,
        )


def case(rows: int, *, wrong: int = 0, seed: int = 0) -> Case:
    """Random statistics whose first `wrong` rows are misclassified."""
    drawn = statistics_of(seed, rows=rows)
    raw = drawn.raw.astype(np.float32)
    labels = (raw.argmax(1) + (np.arange(rows) < wrong)) % 4
    pooled = {"layer": drawn.early.astype(np.float32), "features": drawn.features.astype(np.float32)}
    return Case(Passed(raw, pooled), drawn.second.astype(np.float32), labels)


def with_early(given: Case, early: NDArray[np.float32]) -> Case:
    return replace(given, raw=Passed(given.raw.logits, {**given.raw.pooled, "layer": early}))


def test_too_few_correct_images_are_refused_with_both_numbers() -> None:
    case(59, wrong=9).calibrate(budget=0.2)
    with pytest.raises(ExportError, match=r"at least 50 correctly classified.*got 49 of 60"):
        case(60, wrong=11).calibrate(budget=0.2)


def test_too_few_images_for_the_budget_are_refused_and_the_number_named_suffices() -> None:
    # 0.98ⁿ ≤ 0.1 from n = 114 on.
    with pytest.raises(ExportError, match=r"benign_budget: 113 correctly.*2.00%.*at least 114"):
        case(120, wrong=7).calibrate(budget=0.02)
    case(121, wrong=7).calibrate(budget=0.02)


def test_only_correctly_classified_rows_shape_tests_and_threshold() -> None:
    clean, wrong = case(300), case(300, wrong=60)
    kept = np.arange(60, 300)
    alone = Case(clean.raw.take(kept), clean.second[kept], clean.labels[kept])
    found, expected = wrong.calibrate().gate, alone.calibrate().gate
    assert found.flag_threshold == expected.flag_threshold
    np.testing.assert_array_equal(found.disagreement_tail.knots, expected.disagreement_tail.knots)
    np.testing.assert_array_equal(found.response_scale.mean, expected.response_scale.mean)
    assert found.flag_threshold != clean.calibrate().gate.flag_threshold


def test_the_screen_keeps_its_rate_over_all_rows() -> None:
    wrong = case(300, wrong=60)
    gate = wrong.calibrate().gate
    reading = read_gate(gate, wrong.look, wrong.second)
    # 40 % of 300 with 90 % confidence: 108 may pass the screen, wrong answers included.
    assert reading.screened.sum() == allowed_flags(300, 0.4) == 108


@pytest.mark.parametrize("rate", [None, 1.0])
def test_without_a_screen_every_row_takes_the_second_pass(rate: float | None) -> None:
    result = case(300).calibrate(screen_rate=rate)
    assert result.gate.screen_threshold is None
    assert result.pass2_rate == Rate(300, 300)


def test_flag_rates_count_correct_rows_and_all_others_count_every_row() -> None:
    result = case(300, wrong=60).calibrate()
    assert (result.flag_rate.n, result.pass2_rate.n) == (240, 300)
    assert result.accuracy_raw == Rate(240, 300)
    assert result.accuracy_defended.n == 300
    assert result.flag_rate.count <= result.pass2_rate.count


def test_misclassified_rows_do_not_count_as_benign_flags() -> None:
    benign = case(300, wrong=60)
    early, predicted = benign.raw.pooled["layer"].copy(), benign.raw.logits.argmax(1)
    for row in range(60):
        early[row, (predicted[row] + 1) % 4] = 500.0
    result = with_early(benign, early).calibrate()
    assert result.flag_rate.count < 30 and result.pass2_rate.count < 150
    # All 60 are flagged, which traffic will show, and put right: the early layers name their class.
    assert result.flag_rate_all == Rate(result.flag_rate.count + 60, 300)
    assert result.accuracy_defended == Rate(300 - result.flag_rate.count, 300)


def test_the_budget_is_kept_on_fresh_inputs_by_nine_of_ten_calibration_sets() -> None:
    """Over 200 sets 91 % keep it; cut on the inputs that the tests were fitted to, 81 % would."""
    fresh = statistics_of(10_000, rows=20_000)
    rates = []
    for seed in range(100, 200):
        gate = case(600, seed=seed).calibrate(budget=0.05).gate
        rates.append(fresh.read(gate).flagged.mean())
    assert np.mean(np.array(rates) <= 0.05) >= 0.9, rates
    # Kept, but not by flagging next to nothing.
    assert np.mean(rates) >= 0.02


def test_the_seed_decides_the_folds_and_so_the_threshold() -> None:
    benign = case(400, wrong=30)
    first, again, other = (benign.calibrate(seed=seed) for seed in (1, 1, 2))
    for field in ("flag_rate", "pass2_rate", "accuracy_raw", "accuracy_defended"):
        assert getattr(first, field) == getattr(again, field)
    assert first.pass2_rate != other.pass2_rate
    assert first.gate.flag_threshold == again.gate.flag_threshold
    assert first.gate.flag_threshold != other.gate.flag_threshold
    assert first.gate.screen_threshold == other.gate.screen_threshold


def test_every_row_is_judged_by_a_gate_that_never_saw_it() -> None:
    # 120 rows allow no flag at all at 2 %. A gate fitted to a row far beyond all others makes room for it;
    # gates fitted without it do not.
    benign = case(120)
    early, predicted = benign.raw.pooled["layer"].copy(), benign.raw.logits.argmax(1)
    early[7] = 0
    early[7, (predicted[7] + 1) % 4] = 500.0
    outlier = with_early(benign, early)
    result = outlier.calibrate(budget=0.02, screen_rate=None)
    seen = read_gate(result.gate, outlier.look, outlier.second)
    assert not seen.flagged.any()
    assert result.flag_rate.count >= 1


def test_defended_accuracy_is_the_policys() -> None:
    benign = case(400, wrong=40)
    assert benign.calibrate(policy=Policy.DETECT).accuracy_defended == Rate(360, 400)
    # Pass 2 gives the first 100 rows the class after the predicted one: right for the 40 wrong rows alone.
    turned = benign.second.copy()
    turned[:100] = np.roll(benign.raw.logits[:100], 1, axis=1)
    turned[100:] = benign.raw.logits[100:]
    always = Case(benign.raw, turned, benign.labels).calibrate(policy=Policy.ALWAYS, screen_rate=None)
    assert always.accuracy_defended == Rate(40 + 300, 400)
    guarded = benign.calibrate(policy=Policy.GUARDED)
    # A flagged correct row is always answered otherwise; wrong rows may be put right.
    assert 360 - guarded.flag_rate.count <= guarded.accuracy_defended.count <= 400 - guarded.flag_rate.count


def join(*sets: ImageSet) -> ImageSet:
    return ImageSet(
        np.concatenate([s.images for s in sets]),
        np.concatenate([s.labels for s in sets]),
        sets[0].class_names,
    )


@pytest.fixture(scope="module")
def bench(example: Example) -> Bench:
    """The trained network: 1000 images for read-outs, 3000 others that nothing is fitted to."""
    first, second = (example.profile.take(np.arange(*ends)) for ends in ((0, 1000), (1000, 2000)))
    fresh = join(example.calibration, second, example.test)
    config = ExportConfig(mean=example.mean, std=example.std)
    return set_up(example.model, at_the_door(first), at_the_door(fresh), config, silent)


@dataclass(frozen=True, eq=False)
class RealCase:
    """Both passes over real benign images, and what was fitted to others."""

    known: Known
    passed: Passed
    second: NDArray[np.float32]
    labels: Labels

    def part(self, rows: NDArray[np.int64]) -> RealCase:
        return RealCase(self.known, self.passed.take(rows), self.second[rows], self.labels[rows])

    def calibrate(self, *, budget: float) -> Calibration:
        return calibrate(
            self.passed,
            self.second,
            self.labels,
            self.known,
            benign_budget=budget,
            screen_rate=0.4,
            policy=Policy.GUARDED,
            seed=0,
        )

    def flag_rate(self, calibration: Calibration) -> Rate:
        look = FirstLook.of(self.passed, self.known.readouts, self.known.typicality)
        reading = read_gate(calibration.gate, look, self.second)
        correct = self.passed.logits.argmax(1) == self.labels
        return Rate(int(reading.flagged[correct].sum()), int(correct.sum()))


@pytest.fixture(scope="module")
def real(bench: Bench) -> RealCase:
    labels = bench.calibration.labels
    readouts, _ = choose_readouts(
        bench.early_grids, bench.profile_pass, bench.profile.labels, bench.calibration_pass, labels, count=1
    )
    # A view, and on top a fixed pattern of signs: what the gate promises does not depend on what is shown.
    signs = np.sign(np.random.default_rng(0).normal(size=(1, *bench.shape)))
    bank = quantise(signs * (8 / 255), eps=8 / 255, shape=bench.shape)
    moved = look_again(bench.calibration.inputs, (ViewStep.SHIFT,), bank, bench.bounds)
    return RealCase(known_of_bench(bench, readouts), bench.calibration_pass, bench.run(moved).logits, labels)


@pytest.mark.parametrize("budget", [0.02, 0.05])
def test_fresh_benign_images_are_flagged_as_often_as_the_manifest_says(real: RealCase, budget: float) -> None:
    """Ten random halves, each way round: of a single pair, chance decides too much."""
    claimed, found = [], []
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(3000)
        for seen, fresh in ((order[:1500], order[1500:]), (order[1500:], order[:1500])):
            calibration = real.part(seen).calibrate(budget=budget)
            assert real.part(seen).flag_rate(calibration).value <= budget
            rate = real.part(fresh).flag_rate(calibration)
            assert rate.interval[0] <= budget, f"{rate} breaks the budget"
            claimed.append(calibration.flag_rate.value)
            found.append(rate.value)
    assert np.mean(found) == pytest.approx(np.mean(claimed), rel=0.15)
    assert budget / 2 <= np.mean(found) <= budget
    assert np.mean(np.array(found) <= budget) >= 0.7, found
