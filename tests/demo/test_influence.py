from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from nip_export.demo.influence import Condition, InfluenceShift
from nip_export.demo.report import influence_findings

# Two images whose class profiles order the four neurons differently.
ORDER = np.array([[2, 0, 1, 3], [1, 3, 0, 2]])


def ranked(first: list[float], second: list[float]) -> npt.NDArray[np.float32]:
    """Influences that read like this once every image's neurons are put in the order of its profile."""
    values = np.zeros((2, 4), np.float32)
    for row, wanted in enumerate((first, second)):
        values[row, ORDER[row]] = wanted
    return values


@pytest.fixture
def shift() -> InfluenceShift:
    return InfluenceShift(
        influence={
            Condition.BENIGN: ranked([4, 1, 0, -1], [2, 1, 0, -1]),
            Condition.ATTACKED: ranked([2, 1, 0, -3], [0, 1, 0, -3]),
            Condition.RESTORED: ranked([3, 1, 0, -4], [1, 1, 0, -4]),
        },
        order=ORDER,
        top_k=1,
    )


def test_neurons_are_ordered_image_by_image_before_the_mean(shift: InfluenceShift) -> None:
    assert shift.by_rank()[Condition.BENIGN].tolist() == [3, 1, 0, -1]
    assert shift.by_rank()[Condition.ATTACKED].tolist() == [1, 1, 0, -3]


def test_groups_are_front_middle_and_tail_with_their_spread_over_images(shift: InfluenceShift) -> None:
    front, middle, tail = shift.by_group()[Condition.BENIGN]
    assert (front.value, middle.value, tail.value) == (3, 0.5, -1)
    # Two images at 4 and 2: standard deviation √2, of the mean 1.
    assert front.half_width == pytest.approx(1.96)
    assert tail.half_width == 0


def test_the_findings_say_what_happened_whichever_way_it_went(shift: InfluenceShift) -> None:
    front, middle, tail = influence_findings(shift)
    assert "front neurons: suppressed" in front
    assert "closed 50% of the gap" in front
    assert "left as they were" in middle
    assert "tail neurons: enhanced" in tail
    assert "did not close the gap but widened it by 50%" in tail


@pytest.mark.parametrize("top_k", [0, 3])
def test_groups_that_overlap_are_refused(shift: InfluenceShift, top_k: int) -> None:
    with pytest.raises(ValueError, match="top_k"):
        replace(shift, top_k=top_k)


def test_shapes_and_conditions_must_fit(shift: InfluenceShift) -> None:
    with pytest.raises(ValueError, match="every condition"):
        replace(shift, influence={Condition.BENIGN: shift.influence[Condition.BENIGN]})
    with pytest.raises(ValueError, match="attacked"):
        replace(shift, influence={**shift.influence, Condition.ATTACKED: np.zeros((2, 3), np.float32)})
