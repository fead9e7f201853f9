"""Exactly so many rows take the second pass: read from the very graph that is timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nip_runtime.errors import InputError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.names import ROWS, SCREENED
from nip_runtime.operate.bench.plan import BenchPlan
from nip_runtime.operate.bench.shares import (
    Inputs,
    Look,
    Mixture,
    move_screen,
    part_by_screen,
    random_inputs,
    rows_of,
)
from nip_runtime.operate.bench.subject import Opener, Subject, prepare
from nip_runtime.run.engine.cut import Sliceable
from tests.bench.conftest import GOLDENS


def _second_pass(subject: Subject, opener: Opener, inputs: Inputs) -> list[int]:
    """Which rows of a batch the moved file itself sends to the second pass."""
    name = subject.artifact.manifest.input.name
    (rows,) = opener(subject.model.part([name], [ROWS])).run([ROWS], {name: inputs})
    return sorted(rows.tolist())


@pytest.mark.parametrize("policy", ["guarded", "detect"])
@pytest.mark.parametrize(("batch", "count"), [(1, 0), (1, 1), (7, 3), (16, 1), (16, 16), (64, 0), (64, 40)])
def test_exactly_so_many_rows_take_the_second_pass(
    policy: str, batch: int, count: int, opener: Opener, plain_path: Path
) -> None:
    subject = prepare(BenchPlan(path=GOLDENS / f"{policy}.onnx", device="cpu", threads=1), plain_path)
    taken = _second_pass(subject, opener, subject.mixture.batch(batch, count))
    assert len(taken) == count
    if 0 < count < batch:  # spread over the batch, not in a block
        assert max(np.diff([-1, *taken, batch])) <= 2 * batch / count


def test_the_screen_of_the_file_as_it_is_counts_otherwise(
    guarded: Path, opener: Opener, plain_path: Path
) -> None:
    """So the counts above come from the moved cut, not from the inputs alone."""
    subject = prepare(BenchPlan(path=guarded, device="cpu", threads=1), plain_path)
    name = subject.artifact.manifest.input.name
    original = opener(Sliceable(guarded.read_bytes()).part([name], [SCREENED]))
    (screened,) = original.run([SCREENED], {name: subject.mixture.batch(16, 8)})
    assert np.count_nonzero(screened) != 8


def test_a_file_without_a_screen_sends_every_row(always: Path, plain_path: Path) -> None:
    subject = prepare(BenchPlan(path=always, device="cpu", threads=1), plain_path)
    assert not subject.has_screen
    assert subject.second_pass_rows(16, (0, 0.5)) == [16]
    assert len(subject.mixture.batch(64, 64)) == 64
    with pytest.raises(InputError, match="expected 16 to 16 rows in the second pass of 16, got 3"):
        subject.mixture.batch(16, 3)


@pytest.mark.parametrize(
    ("share", "batch", "rows"),
    [(0, 64, 0), (0.05, 64, 3), (0.05, 16, 1), (0.05, 1, 1), (0.001, 64, 1), (0.5, 7, 4), (1, 64, 64)],
)
def test_shares_become_rows(share: float, batch: int, rows: int) -> None:
    assert rows_of(share, batch) == rows


def test_shares_that_stand_for_the_same_rows_are_timed_once(guarded: Path, plain_path: Path) -> None:
    subject = prepare(BenchPlan(path=guarded, device="cpu", threads=1), plain_path)
    assert subject.second_pass_rows(1, (0, 0.05, 1)) == [0, 1]
    assert subject.second_pass_rows(16, (1, 0.05, 0)) == [0, 1, 16]


def test_by_default_as_many_rows_as_of_benign_images_are_timed_too(guarded: Path, plain_path: Path) -> None:
    subject = prepare(BenchPlan(path=guarded, device="cpu", threads=1), plain_path)
    benign = subject.artifact.manifest.calibration.pass2_rate.value
    assert subject.second_pass_rows(64, None) == [0, round(64 * benign), 64]


def _look(disagreement: list[float]) -> Look:
    values = np.array(disagreement, np.float32)
    return Look(values.reshape(-1, 1), np.zeros((len(values), 2), np.float32), values)


def test_the_cut_lies_between_the_outer_thirds() -> None:
    mixture = part_by_screen(_look([5, 1, 4, 3, 2, 9]))
    assert mixture.calm.ravel().tolist() == [1, 2]
    assert mixture.screened.ravel().tolist() == [5, 9]
    assert mixture.threshold == 3.5


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [1.0, float("nan")]])
def test_inputs_that_the_screen_cannot_part_are_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="that the screen can tell apart"):
        part_by_screen(_look(values))


def test_a_cut_that_parts_otherwise_than_thought_is_noticed(guarded: Path, opener: Opener) -> None:
    manifest = read_artifact(guarded).manifest
    inputs = random_inputs(manifest.input, 4)
    wrong = Mixture(inputs[:2], inputs[2:], np.float32(1e6))  # nothing disagrees so much
    with pytest.raises(InputError, match="expected 2 of 4 inputs in the second pass, got 0"):
        move_screen(Sliceable(guarded.read_bytes()), opener, manifest.input.name, wrong)


def test_random_inputs_keep_the_bounds_and_repeat(guarded: Path) -> None:
    spec = read_artifact(guarded).manifest.input
    inputs = random_inputs(spec, 5)
    assert inputs.shape == (5, *spec.shape)
    assert inputs.dtype == np.float32
    assert spec.bounds[0] <= inputs.min() < inputs.max() <= spec.bounds[1]
    assert np.array_equal(inputs, random_inputs(spec, 5))
    assert not np.array_equal(inputs, random_inputs(spec, 5, seed=1))
