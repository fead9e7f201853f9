"""The outcome of an evaluation, number by number: plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nip_evaluate.terms.threats import Norm, Threat
from nip_runtime.file.rates import Rate


@dataclass(frozen=True)
class Estimate:
    """A number that is not a share of trials, with its 95 % interval (`method` says how it was had) and the
    n images behind it."""

    value: float
    low: float
    high: float
    n: int
    method: str


@dataclass(frozen=True)
class PairedTest:
    """McNemar's exact test on the same images: how many only the first answers rightly, how many only the
    second, and the two-sided p-value of a difference at least this large by chance."""

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True, kw_only=True)
class BenignResult:
    """What a defence costs on benign images.

    Attributes:
        undefended: accuracy of the network.
        defended: accuracy of the defence.
        cost: accuracy given up, undefended − defended, a share (0.01 is one point), paired.
        false_corrections: share of images the network labels rightly and the defence wrongly.
        flagged: share of all images flagged; None for a defence without flags.
        flagged_correct: share of rightly labelled images flagged, which the benign budget bounds; or None.
        second_pass: share of images that took the second pass; None where there is none or all take it.
    """

    undefended: Rate
    defended: Rate
    cost: Estimate
    false_corrections: Rate | None
    flagged: Rate | None
    flagged_correct: Rate | None
    second_pass: Rate | None


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What became of one attack against the exported file.

    Attributes:
        name, family, library, source, settings, norm, epsilon, confidence, core: as in `AttackCase`.
        threat: what the attacker knew.
        undefended: accuracy of the file's raw logits on the attacked images.
        defended: accuracy of the file's answers on them.
        successes: images labelled rightly before the attack and wrongly after it, by the raw logits.
        dsr: defence success rate, share of `successes` that the defence labels rightly; None without any.
        detected: share of `successes` that are flagged; None without any, or without flags.
        broken: share, of attacked images that the raw logits label rightly, that the defence labels wrongly;
            None without any.
        gain: defended against undefended on the attacked images.
        agreement: share of attacked images that file and torch network both label rightly or both wrongly.
        mean_linf, mean_l2: mean size of the change in input units.
        queries: mean answers asked for per image, where counted.
        seconds: wall time of the attack.
        snr_db: median ratio of signal to change in dB, of recordings that were changed; None for inputs that
            do not lie evenly around 0, or if none was.
    """

    name: str
    family: str
    threat: Threat
    library: str
    source: str
    settings: str
    norm: Norm
    epsilon: float | None
    confidence: float | None
    core: bool
    undefended: Rate
    defended: Rate
    successes: int
    dsr: Rate | None
    detected: Rate | None
    broken: Rate | None
    gain: PairedTest
    agreement: Rate
    mean_linf: float
    mean_l2: float
    queries: float | None
    seconds: float
    snr_db: float | None = None


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """Share of images answered rightly as they are and under every attack of a group: the headline.

    Only images that every attack of the group was run on are counted.
    `epsilon` says which attacks belong: those within L∞ of this size; None: all, whatever their norm.
    """

    threats: tuple[Threat, ...]
    epsilon: float | None
    attacks: int
    undefended: Rate
    defended: Rate


@dataclass(frozen=True, kw_only=True)
class BaselineAttack:
    """One attack against one baseline; `against_file` compares file (first) and baseline (second) on the
    same successes; `detected` is the share of successes that it flags, None if it flags nothing at all."""

    name: str
    defended: Rate
    dsr: Rate | None
    detected: Rate | None
    against_file: PairedTest | None


@dataclass(frozen=True, kw_only=True)
class BaselineResult:
    """One baseline on the same images.

    `mean_dsr` is the mean over core attacks, `lead` the file's mean DSR minus the baseline's, paired; None if
    no core attack succeeded. `variant` is true for the defence itself with something exchanged, at the same
    benign budget.
    """

    name: str
    description: str
    passes: float
    variant: bool
    benign: BenignResult
    attacks: tuple[BaselineAttack, ...]
    mean_dsr: Estimate | None
    lead: Estimate | None


@dataclass(frozen=True, kw_only=True)
class TradeOffPoint:
    """One setting of the gate's threshold: what it costs and what it buys."""

    threshold: float
    flagged: Rate
    cost: Estimate
    mean_dsr: Estimate


@dataclass(frozen=True, kw_only=True)
class TradeOff:
    """A defence at every threshold, by rising flag rate; `chosen` indexes the file's own."""

    name: str
    points: tuple[TradeOffPoint, ...]
    chosen: int | None


@dataclass(frozen=True, kw_only=True)
class Roc:
    """The suspicion as a detector of one attack's successes: (false alarms, detections), both rising."""

    attack: str
    points: tuple[tuple[float, float], ...]
    auc: Estimate
    benign: int
    successes: int


@dataclass(frozen=True, kw_only=True)
class RiskCoverage:
    """Share of wrong answers among the least suspicious rows, by the share that is answered at all."""

    name: str
    points: tuple[tuple[float, float], ...]
    n: int


@dataclass(frozen=True, kw_only=True)
class InfluenceGroups:
    """Mean influence per neuron on the true class, of front, middle and tail neurons, over the same n images.

    `by_rank` are the same means at every rank of the class profile.
    """

    attack: str
    top_k: int
    benign: tuple[Estimate, Estimate, Estimate]
    attacked: tuple[Estimate, Estimate, Estimate]
    defended: tuple[Estimate, Estimate, Estimate]
    benign_by_rank: tuple[float, ...]
    attacked_by_rank: tuple[float, ...]
    defended_by_rank: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Median time of a run, plain file and defended file taking turns, and the median ratio of the rounds."""

    batch: int
    plain_ms: float
    defended_ms: float
    ratio: float
    rounds: int


@dataclass(frozen=True)
class Check:
    """A claim that a sound evaluation fulfils, and whether this one did; `detail` gives the numbers."""

    claim: str
    holds: bool
    detail: str


@dataclass(frozen=True)
class NotMeasured:
    """Something the protocol asks for that this run left out, and why."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was evaluated: the facts that a reader needs to know which file it was and how it was run."""

    file: str
    size_bytes: int
    policy: str
    precision: str
    benign_budget: float
    eps_pixel: float
    graph_digest: str
    weights_digest: str
    test_digest: str
    classes: tuple[str, ...]
    seed: int
    quick: bool
    created: str
    machine: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything the report shows."""

    subject: Subject
    benign: BenignResult
    worst_case: tuple[WorstCase, ...]
    mean_dsr: Estimate | None
    attacks: tuple[AttackResult, ...]
    baselines: tuple[BaselineResult, ...]
    trade_offs: tuple[TradeOff, ...]
    detector: tuple[Roc, ...]
    risk_coverage: tuple[RiskCoverage, ...]
    influence: tuple[InfluenceGroups, ...]
    latency: tuple[Latency, ...]
    checks: tuple[Check, ...]
    not_measured: tuple[NotMeasured, ...]
