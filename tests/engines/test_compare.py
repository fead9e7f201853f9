"""The comparison notices what it is there to notice, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.engines.case import Case, make_case
from benchmarks.engines.compare import Verdict, compare, failed
from benchmarks.engines.job import BATCHES
from benchmarks.engines.material import GOLDENS
from nip_runtime import DefendedSession
from nip_runtime.file.manifest import Policy

Outputs = dict[str, NDArray[Any]]
CANDIDATE, FLAGGED, SUSPICION = "nip_candidate", "nip_flagged", "nip_suspicion"


def golden(name: str) -> Case:
    with np.load(GOLDENS / f"{name}.npz") as stored:
        inputs = stored["images"].astype(np.float32)[:, None] / np.float32(255)
    return make_case(name, GOLDENS / f"{name}.onnx", inputs)


@pytest.fixture(scope="module")
def case() -> Case:
    return golden("guarded")


def answers(case: Case, batch: int) -> list[Outputs]:
    """What a faithful engine gives."""
    columns = {
        "logits": case.logits,
        "nip_raw_logits": case.raw_logits,
        SUSPICION: case.suspicion,
        FLAGGED: case.flagged,
        CANDIDATE: np.zeros(len(case.inputs), np.int64),
    }
    starts = range(0, len(case.inputs), batch)
    return [{name: values[k : k + batch].copy() for name, values in columns.items()} for k in starts]


@pytest.mark.parametrize("batch", BATCHES)
def test_the_right_answers_pass(case: Case, batch: int) -> None:
    found = compare(case, batch, answers(case, batch))
    edge = int(case.on_edge.sum())
    assert found == Verdict(
        rows=len(case.inputs) - edge, on_edge=edge, labels=0, flags=0, logit_error=0, suspicion_error=0
    )


def another_label(part: Outputs, row: int) -> None:
    part["logits"][row] = np.roll(part["logits"][row], 1)


def another_flag(part: Outputs, row: int) -> None:
    part[FLAGGED][row] ^= True


def no_number(part: Outputs, row: int) -> None:
    part["logits"][row, 0] = np.nan


def worse_logit(part: Outputs, row: int) -> None:
    part["nip_raw_logits"][row, 2] += 3e-3 * np.abs(part["nip_raw_logits"]).max()


def other_suspicion(part: Outputs, row: int) -> None:
    part[SUSPICION][row] += 0.02


WRONGS = (another_label, another_flag, no_number, worse_logit, other_suspicion)


@pytest.mark.parametrize("spoil", WRONGS)
def test_one_wrong_row_is_noticed(case: Case, spoil: Callable[[Outputs, int], None]) -> None:
    row = int(np.flatnonzero(~case.on_edge)[5])
    parts = answers(case, 17)
    spoil(parts[row // 17], row % 17)
    assert compare(case, 17, parts).problem


@pytest.mark.parametrize("spoil", WRONGS)
def test_a_row_on_a_cut_may_fall_either_way(case: Case, spoil: Callable[[Outputs, int], None]) -> None:
    on_edge = case.on_edge.copy()
    on_edge[5] = True
    parts = answers(case, 17)
    spoil(parts[0], 5)
    assert compare(replace(case, on_edge=on_edge), 17, parts).problem == ""


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (FLAGGED, lambda v: v[:, None], r"nip_flagged is bool \(17, 1\), not bool \(17,\)"),
        (FLAGGED, lambda v: v.astype(np.uint8), "nip_flagged is uint8"),
        (CANDIDATE, lambda v: v.astype(np.int32), "nip_candidate is int32"),
        ("logits", lambda v: v[:1], r"logits is float32 \(1, 10\), not float32 \(17, 10\)"),
    ],
)
def test_another_shape_or_dtype_is_named(
    case: Case, name: str, change: Callable[[NDArray[Any]], NDArray[Any]], said: str
) -> None:
    parts = answers(case, 17)
    parts[1][name] = change(parts[1][name])
    with pytest.raises(AssertionError, match=said):
        assert compare(case, 17, parts).problem == ""
    assert compare(case, 17, parts[:1]).problem == "1 batches of 3 were answered"


def test_what_did_not_run_counts_for_every_row(case: Case) -> None:
    found = failed(case, "no such operator")
    assert (found.labels, found.flags, found.problem) == (48, 48, "no such operator")


@pytest.mark.parametrize("policy", list(Policy))
def test_rows_on_a_cut_are_those_that_a_nudge_turns(policy: Policy) -> None:
    """With the cut moved onto a row's statistic, that row and no far one counts as on the edge."""
    case = golden(policy.value)
    assert not case.on_edge.all()
    with DefendedSession(case.path, device="cpu", threads=1) as session:
        nudged = np.clip(case.inputs + np.float32(1e-7), 0, 1)
        turned = session.predict(nudged).flagged != case.flagged
    assert not (turned & ~case.on_edge).any()
