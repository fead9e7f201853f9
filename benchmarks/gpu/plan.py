"""What a run does, in which order, and how long each step may take: the one place in which it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

RUN_LIMIT_S: Final = 480
"""What one run may take in all, once its parts are there."""
SOURCES: Final = 2
"""Batches come from the host's memory, or lie on the card already."""
PART_LIMIT_BYTES: Final = 60 * 2**20
"""What a part must stay below."""
PART_BYTES: Final = 32 * 2**20
"""How large parts are made: with the checkout beside it, one still travels within :data:`PIECE_BYTES`."""
PIECE_BYTES: Final = 64 * 2**20
"""What may travel at once."""


class Step(StrEnum):
    """What runs in a process of its own; also the stem of the file that holds its results."""

    INSTALL = "install"
    ANSWERS = "answers"
    TESTS = "tests"
    SPEED = "speed"
    RIVALS = "rivals"
    FAULTS = "faults"
    PROFILE = "profile"


@dataclass(frozen=True)
class Turn:
    """One process of a run.

    Attributes:
        step: what it does.
        limit_s: after which it is ended.
        network: of which, where a step has a process per network: one that dies takes no other with it.
    """

    step: Step
    limit_s: float
    network: str | None = None

    @property
    def name(self) -> str:
        """As logs and results call it."""
        return self.step if self.network is None else f"{self.step} {self.network}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much a run measures.

    Attributes:
        limits_s: of every step; a step per network is in `network_limits_s` instead.
        network_limits_s: of the speed of every network, in the order in which they take their turns.
        precisions: that are timed; the answers of all are compared.
        batches: rows.
        shares: of the time for paired rounds that each of them gets.
        timing_share: of a network's limit that goes to paired rounds; the rest opens sessions and warms up.
        least_rounds: that every case gets, however long a round takes.
        rival_batches: at which PyTorch stands beside the file.
        rival_seconds: that these rounds may take, per network and batch.
        compiles: whether ``torch.compile`` is among them.
        mixed_batches: of the test that memory does not grow.
        largest_mixed: rows of the largest of them.
        profiled_batches: at which onnxruntime's profiler looks, if a target is missed there.
    """

    limits_s: Mapping[Step, float]
    network_limits_s: Mapping[str, float]
    precisions: tuple[str, ...] = ("fp32", "fp16")
    batches: tuple[int, ...] = (1, 16, 64, 256)
    shares: Mapping[int, float] = field(default_factory=lambda: {1: 0.15, 16: 0.2, 64: 0.25, 256: 0.4})
    timing_share: float = 0.45
    least_rounds: int = 3
    rival_batches: tuple[int, ...] = (1, 16, 64)
    rival_seconds: float = 1.0
    compiles: bool = True
    mixed_batches: int = 1000
    largest_mixed: int = 64
    profiled_batches: tuple[int, ...] = (1, 16, 64)

    def turns(self) -> tuple[Turn, ...]:
        """All processes in their order; what matters most comes first."""
        found = list[Turn]()
        for step in Step:
            if step is Step.SPEED:
                found += [Turn(step, limit, name) for name, limit in self.network_limits_s.items()]
            else:
                found.append(Turn(step, self.limits_s[step]))
        return tuple(found)

    def seconds(self, network: str, batch: int) -> float:
        """How long the paired rounds of one batch size may take, from one source and in one precision."""
        tables = len(self.precisions) * SOURCES
        return self.timing_share * self.network_limits_s[network] * self.shares[batch] / tables

    @property
    def limit_s(self) -> float:
        """What all steps may take together."""
        return sum(turn.limit_s for turn in self.turns())


class PlanName(StrEnum):
    """Which plan."""

    FULL = "full"
    """What a GPU is asked for."""
    SMALL = "small"
    """Every step once, with as little work as shows that it runs."""


PLANS: Final = {
    PlanName.FULL: Plan(
        limits_s={
            Step.INSTALL: 44,
            Step.ANSWERS: 75,
            Step.TESTS: 40,
            Step.RIVALS: 60,
            Step.FAULTS: 50,
            Step.PROFILE: 30,
        },
        network_limits_s={
            "resnet50": 65,
            "mobilenetv2": 35,
            "vit-tiny": 35,
            "fashion-vgg": 16,
            "fashion-resnet": 16,
            "fashion-vit": 14,
        },
    ),
    PlanName.SMALL: Plan(
        # Far more than a quiet machine needs: a busy one fails no test for that.
        limits_s={
            Step.INSTALL: 240,
            Step.ANSWERS: 240,
            Step.TESTS: 240,
            Step.RIVALS: 240,
            Step.FAULTS: 240,
            Step.PROFILE: 240,
        },
        network_limits_s={"fashion-vgg": 240},
        batches=(1, 4),
        shares={1: 0.5, 4: 0.5},
        timing_share=0.0025,
        least_rounds=2,
        rival_batches=(1, 4),
        rival_seconds=0.1,
        compiles=False,
        mixed_batches=20,
        largest_mixed=8,
        profiled_batches=(1, 4),
    ),
}
