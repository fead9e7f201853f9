"""The benchmark of the drift warning in small: the promises hold, and it would notice if they did not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.hardening import drift, drift_attacked, drift_simulated
from benchmarks.hardening.drift_simulated import ROWS, Change, Delay
from nip_runtime.file.rates import Rate
from nip_runtime.observe import Expected
from nip_runtime.session import DefendedSession

GUARDED = Path(__file__).parents[1] / "goldens" / "guarded.onnx"
USUAL = Expected(0.01, 0.03)


def ignore(done: int) -> None: ...


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.03])
def test_false_alarms_are_rare_within_the_interval(rate: float) -> None:
    rng = np.random.default_rng(1)
    found = drift_simulated.false_alarms(USUAL, rate, streams=15, rng=rng, advance=ignore)
    assert found.interval[0] <= drift_simulated.ALPHA
    assert found.n == 15


def test_it_counts_alarms_where_there_are_some() -> None:
    rng = np.random.default_rng(1)
    found = drift_simulated.false_alarms(USUAL, 0.06, streams=4, rng=rng, advance=ignore)
    assert found == Rate(4, 4)
    missed = drift._false("", found, drift_simulated.ALPHA)
    assert missed.met is False
    assert drift._false("", Rate(0, 2000), drift_simulated.ALPHA).met


def test_a_late_change_is_found_as_fast_as_an_early_one() -> None:
    """What an e-detector is for: a plain product of bets is still paying for the calm before."""
    rng = np.random.default_rng(2)
    medians = {}
    for before in (0, 50_000):
        change = Change(benign=0.02, before=before, rate=0.1)
        delay = drift_simulated.delays(USUAL, change, streams=15, rng=rng, advance=ignore)
        plain = drift_simulated.delays_of_one_product(USUAL, change, streams=5, rng=rng)
        medians[before] = delay.quantile(0.5), plain.quantile(0.5)
        assert delay.found == 15
    assert medians[50_000][0] < 1.5 * medians[0][0] < 750
    assert medians[50_000][1] > 2 * medians[50_000][0]


def test_delays_without_an_alarm_are_told_as_such() -> None:
    delay = Delay((5.0, math.inf, math.inf))
    assert delay.found == 1
    told = drift._delay("after a change", delay)
    assert (told.what, told.value, told.of) == ("warnings within 100000 rows after a change", 1, 3)
    assert drift._delay("rows", Delay((5.0, 6.0, 7.0))).value == 6.0
    change = Change(benign=0.02, before=0, rate=0.02)
    rng = np.random.default_rng(3)
    assert drift_simulated.delays(USUAL, change, streams=1, rng=rng, advance=ignore).rows == (math.inf,)


@pytest.fixture(scope="module")
def traffic() -> drift_attacked.Traffic:
    """Noise that the golden file does not flag, and noise that it does."""
    with DefendedSession(GUARDED, device="cpu", threads=1) as session:
        shape = session.manifest.input.shape
        images = np.random.default_rng(0).random((300, *shape), np.float32)
        flagged = session.predict(images).flagged
    assert 5 < flagged.sum() < 295
    calm, loud = images[~flagged], images[flagged]
    return drift_attacked.Traffic(
        benign=np.concatenate([calm[:99], loud[:1]]),
        attacked=loud,
        benign_flags=np.arange(100) == 99,
        attacked_flags=np.ones(len(loud), bool),
    )


def test_traffic_mixes_the_share_asked_for(traffic: drift_attacked.Traffic) -> None:
    rng = np.random.default_rng(4)
    for share in (0.0, 0.3, 1.0):
        flags = drift_attacked.flags_of(traffic, share, 20_000, rng)
        assert flags.mean() == pytest.approx(share + (1 - share) * 0.01, abs=0.01)
    expected = Expected.from_rate(Rate(10, 1000))
    assert drift_attacked.benign_alarms(traffic, expected, streams=5, rng=rng, advance=ignore) == Rate(0, 5)
    delay = drift_attacked.delay_under_attack(traffic, expected, 0.3, streams=5, rng=rng)
    assert delay.quantile(1.0) < 200


def test_a_session_with_all_observers_warns(traffic: drift_attacked.Traffic, tmp_path: Path) -> None:
    expected = Expected.from_rate(Rate(10, 1000))
    seen = drift_attacked.live(GUARDED, tmp_path, traffic, expected, 0.3, np.random.default_rng(5))
    assert seen.benign_alarms == 0
    assert seen.rows is not None
    assert 0 < seen.rows < 200
    assert seen.warning.startswith("flag rate above what was expected: ")
    assert seen.audit_lines == seen.totals.flagged > 0
    lines = (tmp_path / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[-1])["index"] < seen.totals.rows
    assert ROWS > seen.totals.rows > drift_attacked.LIVE_ROWS
