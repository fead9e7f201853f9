"""Counters, drift and audit as Prometheus metrics, through the package ``prometheus-client``.

    from prometheus_client import start_http_server
    from nip_runtime.observe.prometheus import Watched, register

    register(Watched("model", counters.snapshot, drift=drift.state, manifest=session.manifest))
    start_http_server(9100)

Every metric has the label ``model``, so that several models share a registry. Nothing is counted twice:
values are read when they are scraped.

    nip_rows_total{reason}                      passed, corrected, confirmed, detected or refused
    nip_flagged_rows_total                      taken for attacked by the gate
    nip_predict_errors_total{error}             calls without an answer, by the error's class
    nip_predict_duration_seconds                histogram of the other calls
    nip_drift_rows_total, nip_drift_flagged_rows_total
    nip_drift_alarms_total{direction}           above or below the interval
    nip_drift_expected_flag_rate{bound}         the interval: low and high
    nip_drift_evidence_ratio{direction}         1 is an alarm
    nip_audit_lost_lines_total
    nip_burst_rows_total{kind}                  watched for near-duplicates: new, near or repeated
    nip_bursts_total                            clients that began to ask about near-duplicates
    nip_model_info{policy,precision,graph_digest,weights_digest,created}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Manifest
from nip_runtime.observe.alarm import DriftState
from nip_runtime.observe.bursts import BurstState
from nip_runtime.observe.latency import BOUNDS_S, Latency
from nip_runtime.observe.totals import Totals
from nip_runtime.result import Reason
from nip_runtime.support.dependencies import load

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import CollectorRegistry

_MODEL: Final = "model"


@dataclass(frozen=True)
class Watched:
    """What is exported of one model; all but the counts can be left out.

    Args:
        model: value of the label ``model``, unique in a registry.
        totals: gives the counts: ``counters.snapshot``, or a sum over processes.
        drift: gives the state of a watch: ``drift.state``.
        bursts: gives the state of a watch for near-duplicates: ``bursts.state``.
        lost_lines: gives the lines that an audit file lost: ``lambda: audit.lost``.
        manifest: of the file, for ``nip_model_info``.
    """

    model: str
    totals: Callable[[], Totals]
    drift: Callable[[], DriftState] | None = field(default=None, kw_only=True)
    bursts: Callable[[], BurstState] | None = field(default=None, kw_only=True)
    lost_lines: Callable[[], int] | None = field(default=None, kw_only=True)
    manifest: Manifest | None = field(default=None, kw_only=True)


def register(*watched: Watched, registry: CollectorRegistry | None = None) -> CollectorRegistry:
    """Register models with a Prometheus registry, all in one call.

    Args:
        watched: the models.
        registry: None: the default one of ``prometheus_client``.

    Returns:
        The registry.

    Raises:
        DependencyError: if ``prometheus-client`` is missing.
        InputError: if no model is given, two have one name, or the registry has these metrics already.
    """
    names = [each.model for each in watched]
    if not names or len(set(names)) < len(names):
        raise InputError.mismatch(
            expected="one or more models with a name each", got=repr(names), fix="name every model once"
        )
    target: CollectorRegistry = load("prometheus_client").REGISTRY if registry is None else registry
    collector: Any = ModelCollector(*watched)
    try:
        target.register(collector)
    except ValueError as error:
        raise InputError.mismatch(
            expected="a registry without metrics of this package",
            got="one that has them",
            fix="register all models in one call, or take another registry",
        ) from error
    return target


class ModelCollector:
    """Reads the counts of all models whenever a registry asks."""

    def __init__(self, *watched: Watched) -> None:
        self._core = load("prometheus_client.core")
        self._watched = watched

    def describe(self) -> Iterator[Metric]:
        """The metrics without values: a registry checks their names when it takes this collector."""
        yield from self._families().all

    def collect(self) -> Iterator[Metric]:
        """All metrics, those without a value left out."""
        families = self._families()
        for each in self._watched:
            families.add_totals(each.model, each.totals())
            if each.drift is not None:
                families.add_drift(each.model, each.drift())
            if each.bursts is not None:
                families.add_bursts(each.model, each.bursts())
            if each.lost_lines is not None:
                families.lost.add_metric([each.model], each.lost_lines())
            if each.manifest is not None:
                families.add_manifest(each.model, each.manifest)
        for family in families.all:
            if family.samples:
                yield family

    def _families(self) -> _Families:
        return _Families(self._core)


class _Families:
    """One empty family per metric, to be filled model by model."""

    def __init__(self, core: Any) -> None:
        counter, gauge = core.CounterMetricFamily, core.GaugeMetricFamily
        self.rows = counter("nip_rows", "Rows answered, by reason.", labels=[_MODEL, "reason"])
        self.flagged = counter("nip_flagged_rows", "Rows that the gate flagged.", labels=[_MODEL])
        self.errors = counter(
            "nip_predict_errors", "Calls that ended without an answer.", labels=[_MODEL, "error"]
        )
        self.seconds = core.HistogramMetricFamily(
            "nip_predict_duration_seconds", "Duration of calls that gave an answer.", labels=[_MODEL]
        )
        self.drift_rows = counter("nip_drift_rows", "Rows watched for drift.", labels=[_MODEL])
        self.drift_flagged = counter(
            "nip_drift_flagged_rows", "Flagged rows among those watched for drift.", labels=[_MODEL]
        )
        self.alarms = counter(
            "nip_drift_alarms", "Times that the flag rate left its interval.", labels=[_MODEL, "direction"]
        )
        self.bounds = gauge(
            "nip_drift_expected_flag_rate", "Interval of the flag rate.", labels=[_MODEL, "bound"]
        )
        self.evidence = gauge(
            "nip_drift_evidence_ratio",
            "Evidence that the flag rate left its interval; 1 is an alarm.",
            labels=[_MODEL, "direction"],
        )
        self.watched = counter(
            "nip_burst_rows", "Rows watched for near-duplicates, by kind.", labels=[_MODEL, "kind"]
        )
        self.bursts = counter(
            "nip_bursts", "Times that a client began to ask about near-duplicates.", labels=[_MODEL]
        )
        self.lost = counter("nip_audit_lost_lines", "Audit lines that could not be written.", labels=[_MODEL])
        self.info = core.InfoMetricFamily("nip_model", "The defended file.", labels=[_MODEL])
        self.all: tuple[Any, ...] = tuple(value for name, value in vars(self).items() if name != "all")

    def add_totals(self, model: str, totals: Totals) -> None:
        for reason in Reason:
            self.rows.add_metric([model, reason.value], totals.of(reason))
        self.flagged.add_metric([model], totals.flagged)
        for name, count in totals.errors:
            self.errors.add_metric([model, name], count)
        self.seconds.add_metric([model], _buckets(totals.latency), totals.latency.sum_s)

    def add_drift(self, model: str, state: DriftState) -> None:
        self.drift_rows.add_metric([model], state.rows)
        self.drift_flagged.add_metric([model], state.flagged)
        self.alarms.add_metric([model, "above"], state.alarms_above)
        self.alarms.add_metric([model, "below"], state.alarms_below)
        self.evidence.add_metric([model, "above"], state.evidence_above / state.threshold)
        self.evidence.add_metric([model, "below"], state.evidence_below / state.threshold)
        if state.expected is not None:
            self.bounds.add_metric([model, "low"], state.expected.low)
            self.bounds.add_metric([model, "high"], state.expected.high)

    def add_bursts(self, model: str, state: BurstState) -> None:
        self.watched.add_metric([model, "new"], state.rows - state.near)
        self.watched.add_metric([model, "near"], state.near)
        self.watched.add_metric([model, "repeated"], state.repeated)
        self.bursts.add_metric([model], state.bursts)

    def add_manifest(self, model: str, manifest: Manifest) -> None:
        about = {
            "policy": manifest.policy.value,
            "precision": manifest.precision.value,
            "graph_digest": manifest.digests.graph,
            "weights_digest": manifest.digests.weights,
            "created": manifest.provenance.created,
        }
        self.info.add_metric([model], about)


def _buckets(latency: Latency) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound in seconds, as Prometheus writes both."""
    total, result = 0, list[tuple[str, float]]()
    for bound, count in zip([*map(repr, BOUNDS_S), "+Inf"], latency.counts, strict=True):
        total += count
        result.append((bound, total))
    return result
