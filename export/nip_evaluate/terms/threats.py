"""What attackers know, and what an attack is: the vocabulary of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nip_export.support.progress import Advance

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


class Threat(StrEnum):
    """Threat models; results of different ones are never averaged."""

    GRAY_BOX = "T1"
    """Knows the weights, not the defence: crafted on the undefended network."""
    TRANSFER = "T2"
    """Knows neither: crafted on a surrogate of another architecture."""
    QUERY = "T3"
    """Asks the deployed file: crafted from its answers alone."""
    ADAPTIVE = "T4"
    """Knows everything: crafted through a differentiable twin of the whole defence."""


class Norm(StrEnum):
    """How the size of a change is measured."""

    LINF = "L∞"
    L2 = "L2"
    L0 = "L0"
    NONE = "–"


Craft = Callable[[nn.Module, Tensor, Tensor, int, Advance], Tensor]
"""Called with the attacked module, images (N, *shape) in [0, 1], true classes (N,), a seed and an `Advance`
to be called with the number of images done; returns attacked images of the same shape in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class AttackCase:
    """One attack with all its settings: one row of every table.

    Attributes:
        name: unique and readable, such as "PGD 8/255".
        family: the attack without its size, such as "PGD"; groups rows into curves.
        threat: what the attacker knows.
        library: who wrote it: "foolbox", "ART" or "nip_export".
        source: the paper.
        settings: steps, step sizes, restarts: what a reader needs to judge its strength.
        norm: what `epsilon` bounds, or what a minimum-norm attack minimises.
        epsilon: largest change in units of the input; None for a minimum-norm attack.
        confidence: κ of a minimum-norm attack; None elsewhere.
        images: how many images are attacked at most; None: all that there are.
        core: whether it counts in the mean DSR that budgets and baselines are compared by.
        craft: runs it.
    """

    name: str
    family: str
    threat: Threat
    library: str
    source: str
    settings: str
    norm: Norm
    epsilon: float | None
    confidence: float | None = None
    images: int | None = None
    core: bool = False
    craft: Craft = field(compare=False, repr=False)

    @property
    def minimum_norm(self) -> bool:
        """Whether the attack minimises the change instead of using a budget."""
        return self.epsilon is None


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack made of the first n images.

    Attributes:
        case: the attack.
        images: (n, *shape) float32 in [0, 1].
        seconds: wall time.
        queries: mean number of rows the attacked module answered per image; None where that is not counted.
    """

    case: AttackCase
    images: Images
    seconds: float
    queries: float | None = None


def epsilon_name(epsilon: float) -> str:
    """ε as names of cases spell it: "8/255", or "0.05" where it is no whole number of 255ths."""
    parts = epsilon * 255
    return f"{round(parts)}/255" if abs(parts - round(parts)) < 1e-6 else f"{epsilon:g}"
