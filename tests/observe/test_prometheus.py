from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.openmetrics import exposition, parser
from prometheus_client.parser import text_string_to_metric_families

from nip_runtime.errors import InputError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.observe import Counters, DriftWatch, Expected, Learned
from nip_runtime.observe.prometheus import Watched, register
from nip_runtime.result import Reason
from tests.observe.answers import answer

ROOT = Path(__file__).parents[2]
GUARDED = ROOT / "tests" / "goldens" / "guarded.onnx"


def counted() -> Counters:
    counters = Counters()
    counters.observe(answer([*Reason, Reason.PASSED]), duration_s=0.0015)
    counters.observe(answer([Reason.PASSED]), duration_s=75.0)
    counters.observe_error(InputError("no"), duration_s=0.1)
    return counters


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, {"model": "one", **labels})


def test_says_what_was_counted() -> None:
    drift = DriftWatch(Expected(0.1, 0.2), alpha=0.5, horizon_rows=10)
    drift.see([True] * 40)
    manifest = read_artifact(GUARDED).manifest
    registry = register(
        Watched("one", counted().snapshot, drift=drift.state, lost_lines=lambda: 3, manifest=manifest),
        registry=CollectorRegistry(),
    )
    reasons = {reason: sample(registry, "nip_rows_total", reason=reason.value) for reason in Reason}
    assert reasons == {reason: 1 for reason in Reason} | {Reason.PASSED: 3}
    assert sample(registry, "nip_flagged_rows_total") == 3
    assert sample(registry, "nip_predict_errors_total", error="InputError") == 1
    assert sample(registry, "nip_predict_duration_seconds_count") == 2
    assert sample(registry, "nip_predict_duration_seconds_sum") == 75.0015
    assert sample(registry, "nip_predict_duration_seconds_bucket", le="0.001") == 0
    assert sample(registry, "nip_predict_duration_seconds_bucket", le="0.002") == 1
    assert sample(registry, "nip_predict_duration_seconds_bucket", le="50.0") == 1
    assert sample(registry, "nip_predict_duration_seconds_bucket", le="+Inf") == 2
    assert sample(registry, "nip_audit_lost_lines_total") == 3
    state = drift.state()
    assert state.alarms_above > 0
    assert sample(registry, "nip_drift_alarms_total", direction="above") == state.alarms_above
    assert sample(registry, "nip_drift_alarms_total", direction="below") == 0
    assert sample(registry, "nip_drift_rows_total") == sample(registry, "nip_drift_flagged_rows_total") == 40
    assert sample(registry, "nip_drift_expected_flag_rate", bound="low") == 0.1
    assert sample(registry, "nip_drift_expected_flag_rate", bound="high") == 0.2
    evidence = sample(registry, "nip_drift_evidence_ratio", direction="above")
    assert evidence == state.evidence_above / state.threshold
    info = next(family for family in registry.collect() if family.name == "nip_model").samples[0]
    assert (info.name, info.value) == ("nip_model_info", 1)
    assert info.labels["policy"] == "guarded"
    assert info.labels["graph_digest"] == manifest.digests.graph
    assert info.labels["weights_digest"] == manifest.digests.weights != manifest.digests.graph


def test_values_are_read_when_they_are_scraped() -> None:
    counters = Counters()
    registry = register(Watched("one", counters.snapshot), registry=CollectorRegistry())
    assert sample(registry, "nip_flagged_rows_total") == 0
    counters.observe(answer([Reason.DETECTED]), duration_s=0.1)
    assert sample(registry, "nip_flagged_rows_total") == 1


def test_the_text_is_valid_in_both_formats() -> None:
    registry = register(
        Watched("one", counted().snapshot, drift=DriftWatch(Learned()).state),
        Watched('two "2"\n', Counters().snapshot, manifest=read_artifact(GUARDED).manifest),
        registry=CollectorRegistry(),
    )
    text = generate_latest(registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["nip_rows"].type == "counter"
    assert families["nip_predict_duration_seconds"].type == "histogram"
    assert families["nip_drift_evidence_ratio"].type == "gauge"
    assert {each.labels["model"] for each in families["nip_rows"].samples} == {"one", 'two "2"\n'}
    assert "nip_audit_lost_lines" not in families  # nobody told
    strict = exposition.generate_latest(registry).decode()  # type: ignore[no-untyped-call]
    found = parser.text_string_to_metric_families(strict)  # type: ignore[no-untyped-call]
    names = {family.name for family in found}
    assert {"nip_rows", "nip_predict_duration_seconds", "nip_model"} <= names
    assert text.count("# TYPE nip_rows_total") == 1


def test_a_real_scrape() -> None:
    registry = register(Watched("one", counted().snapshot), registry=CollectorRegistry())
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as reply:
            text = reply.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    rows = next(family for family in text_string_to_metric_families(text) if family.name == "nip_rows")
    assert sum(each.value for each in rows.samples) == 7


def test_refuses_models_that_cannot_be_told_apart() -> None:
    one = Watched("one", Counters().snapshot)
    registry = CollectorRegistry(auto_describe=True)
    for models in ((), (one, one)):
        with pytest.raises(InputError, match="expected one or more models with a name each"):
            register(*models, registry=registry)
    register(one, registry=registry)
    with pytest.raises(InputError, match="got one that has them; register all models in one call"):
        register(Watched("two", Counters().snapshot), registry=registry)


def test_counting_does_without_prometheus_client() -> None:
    code = """
import sys
sys.modules["prometheus_client"] = None  # an import of it raises
from nip_runtime.observe import Counters
from nip_runtime.observe.prometheus import Watched, register
counters = Counters()
print(counters.snapshot().rows)
try:
    register(Watched("one", counters.snapshot))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == (
        "0\nDependencyError expected the package prometheus_client, got none installed; "
        'pip install "nip-runtime[serve]"\n'
    )
