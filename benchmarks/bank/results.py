"""The committed results of this benchmark as plain data: written by its commands, read by its tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from nip_evaluate.terms.results import Estimate
from nip_runtime.support.writing import write_whole

RESULTS = Path(__file__).resolve().parent.parent / "results" / "bank"


@dataclass(frozen=True)
class Number:
    """A measured number with its 95 % interval and the n images behind it."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        """Without the words on how the interval was had: the report and NOTES.md say that."""
        return cls(estimate.value, estimate.low, estimate.high, estimate.n)


@dataclass(frozen=True, kw_only=True)
class AttackLine:
    """One attack against one form.

    Attributes:
        name: of the attack.
        successes: images turned from right to wrong on the undefended network.
        dsr: share of them answered rightly; n is the number of attacked images.
        against_reference: DSR minus that of the reference on the same images, paired.
    """

    name: str
    successes: int
    dsr: Number
    against_reference: Number


@dataclass(frozen=True, kw_only=True)
class FormResult:
    """One way to store, measured.

    Attributes:
        name: of the form.
        bank_bytes: stored perturbations.
        readout_bytes: stored read-outs.
        cost: benign accuracy given up on fresh images, a share.
        cost_against_reference: benign accuracy of the reference minus that of the form, paired.
        flagged: share of rightly labelled fresh images flagged; None where nothing is flagged.
        mean_dsr: mean over the core attacks.
        against_reference: mean DSR minus the reference's, paired.
        attacks: one by one.
    """

    name: str
    bank_bytes: int
    readout_bytes: int
    cost: Number
    cost_against_reference: Number
    flagged: Number | None
    mean_dsr: Number
    against_reference: Number
    attacks: tuple[AttackLine, ...]


@dataclass(frozen=True, kw_only=True)
class Strength:
    """What storing costs one network under one policy, reference first."""

    network: str
    policy: str
    benign_budget: float
    commit: str
    machine: Mapping[str, Any]
    forms: tuple[FormResult, ...]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the parts of a defended file take, in bytes.

    Attributes:
        network: as tables print it.
        policy: of the defence.
        readout: layer and pooled width of the read-out.
        plain: the file of the backbone alone, exported the same way.
        weights: the backbone's weights in the defended file; there once, although it runs twice.
        bank, readouts, scales: the stored tables.
        rest: operators, names, small constants, manifest.
    """

    network: str
    policy: str
    readout: str
    plain: int
    weights: int
    bank: int
    readouts: int
    scales: int
    rest: int

    @property
    def file(self) -> int:
        """The whole file."""
        return self.weights + self.bank + self.readouts + self.scales + self.rest

    @property
    def ratio(self) -> float:
        """File without bank, over the plain one: the target is at most 1.1."""
        return (self.file - self.bank) / self.plain


@dataclass(frozen=True, kw_only=True)
class SizeTable:
    """Sizes of one network's files, and what they were made with."""

    commit: str
    machine: Mapping[str, Any]
    rows: tuple[Sizes, ...]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Adding a class's perturbation beside one pass of the backbone, at one batch size.

    Attributes:
        network: as tables print it.
        batch: images per run.
        rounds: paired rounds.
        plain_ms, adding_ms: median time of a run.
        ratio, low, high: median over the rounds of adding ÷ pass, with its 95 % interval.
    """

    network: str
    batch: int
    rounds: int
    plain_ms: float
    adding_ms: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CostTable:
    """Costs of all batch sizes, and where they were taken."""

    commit: str
    machine: Mapping[str, Any]
    rows: tuple[Cost, ...]


def write(path: Path, result: Strength | SizeTable | CostTable) -> None:
    """Write a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n").encode())


def _number(content: Mapping[str, Any] | None) -> Number | None:
    return None if content is None else Number(**content)


def _form(content: Mapping[str, Any]) -> FormResult:
    numbers = ("cost", "cost_against_reference", "mean_dsr", "against_reference")
    attacks = tuple(
        AttackLine(
            name=line["name"],
            successes=line["successes"],
            dsr=Number(**line["dsr"]),
            against_reference=Number(**line["against_reference"]),
        )
        for line in content["attacks"]
    )
    return FormResult(
        name=content["name"],
        bank_bytes=content["bank_bytes"],
        readout_bytes=content["readout_bytes"],
        flagged=_number(content["flagged"]),
        attacks=attacks,
        **{name: Number(**content[name]) for name in numbers},
    )


def read_strengths(folder: Path = RESULTS) -> tuple[Strength, ...]:
    """All measured networks and policies, the default policy first."""
    found = []
    for path in sorted(folder.glob("strength-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        found.append(Strength(**content | {"forms": tuple(map(_form, content["forms"]))}))
    kinds, policies = ["vgg", "resnet"], ["guarded", "always"]
    return tuple(
        sorted(
            found, key=lambda s: (kinds.index(s.network.split("-")[0]), s.network, policies.index(s.policy))
        )
    )


def read_sizes(folder: Path = RESULTS) -> tuple[SizeTable, ...]:
    """All measured networks, the largest first."""
    found = []
    for path in folder.glob("sizes-*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        found.append(SizeTable(**content | {"rows": tuple(Sizes(**row) for row in content["rows"])}))
    return tuple(sorted(found, key=lambda table: -table.rows[0].plain))


def read_costs(folder: Path = RESULTS) -> CostTable | None:
    """The measured costs; None if there are none."""
    path = folder / "cost.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return CostTable(**content | {"rows": tuple(Cost(**row) for row in content["rows"])})
