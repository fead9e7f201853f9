"""One line for a whole export: shares never go back, time left follows from the pace, stages are foretold."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from nip_export import ExportConfig, export_defended
from nip_export.fit.stages import export_stages
from nip_export.support.overall import Overall, Stage, overall_lines
from nip_export.support.progress import Advance
from tests.export.drawn import blobs, trained


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_say_the_share_of_the_whole_and_the_time_left() -> None:
    clock, lines = Clock(), list[str]()
    overall = overall_lines(lines.append, clock=clock)
    overall.expect([Stage("Read photos", 100, 1), Stage("Gradients", 50, 4), Stage("Write", 1, 100)])
    advance = overall("Read photos", 100)
    assert lines == ["  0% Read photos"]
    for _ in range(4):
        clock.now += 5
        advance(25)
    # After 15 s three quarters are read, at 0.2 s each: 5 s and 0.2 × (200 + 100) s are left.
    assert lines[1:] == [" 19% Read photos, about 65 s left"]
    advance = overall("Gradients", 50)
    assert lines[2:] == [" 25% Gradients, about 60 s left"]
    clock.now += 40  # twice as fast as guessed: a second apiece was expected to be 0.8
    advance(50)
    # 60 s for 300 passes: 0.2 s for each of the 100 that the last stage is worth.
    assert lines[3:] == [" 75% Gradients, about 20 s left"]
    overall("Write", 1)(1)
    assert lines[-1] == " 75% Write, about 20 s left"


def test_shares_never_go_back_and_stages_may_be_left_out_or_unexpected() -> None:
    clock, seen = Clock(), list[tuple[str, float, float | None]]()
    overall = Overall(lambda *told: seen.append(told), clock=clock)
    overall.expect([Stage("a", 10, 1), Stage("b", 10, 100), Stage("c", 10, 1)])
    advance = overall("a", 10)
    clock.now = 1
    advance(10)
    overall.expect([Stage("b", 1000, 100), Stage("c", 10, 1)])  # more than was thought
    overall("b", 1000)
    advance = overall("c", 10)  # b turned out to take no time at all
    clock.now = 2
    advance(10)
    overall("unexpected", 5)(5)
    shares = [share for _, share, _ in seen]
    assert shares == sorted(shares)
    assert seen[-1][2] == 0


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return trained(blobs(2000, seed=1), 10, steps=150)


@pytest.mark.parametrize(
    "changes",
    [{}, {"view": "mirror"}, {"view": "rho"}, {"policy": "always"}, {"self_test": True}],
    ids=str,
)
def test_an_export_goes_through_the_stages_that_were_foretold(
    network: nn.Module, tmp_path: Path, changes: dict[str, object]
) -> None:
    data = blobs(400, seed=3)
    config = ExportConfig(ascent_steps=2, benign_budget=0.1, force=True, **changes)  # type: ignore[arg-type]
    begun: list[tuple[str, int]] = []

    def progress(title: str, total: int) -> Advance:
        begun.append((title, total))
        return lambda done: None

    export_defended(
        network,
        data.images[:240],
        data.labels[:240],
        tmp_path / "m.onnx",
        calibration=(data.images[240:], data.labels[240:]),
        config=config,
        progress=progress,
    )
    foretold = export_stages(config, 240, 160)
    assert [title for title, _ in begun] == [stage.title for stage in foretold]
    for (title, total), stage in zip(begun, foretold, strict=True):
        # Images that the network gets wrong take part in no profile.
        assert total <= stage.total and (total == stage.total or total > 0.6 * stage.total), title
