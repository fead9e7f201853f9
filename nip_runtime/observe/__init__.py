"""What a session does, for those who run it: counts, an audit of flagged rows, a warning when traffic drifts.

    from nip_runtime import DefendedSession
    from nip_runtime.file.artifact import read_artifact
    from nip_runtime.observe import AuditFile, Counters, DriftWatch, Expected, compose
    from nip_runtime.observe.prometheus import Watched, register  # pip install "nip-runtime[serve]"
    from prometheus_client import start_http_server

    manifest = read_artifact("model.nip.onnx").manifest
    counters = Counters()  # rows by reason, flags, errors, a histogram of durations
    drift = DriftWatch(Expected.from_manifest(manifest))  # a WARNING when the flag rate leaves its interval
    audit = AuditFile("flagged.jsonl", class_names=manifest.output.class_names)  # a line per flagged row

    register(
        Watched(
            "model", counters.snapshot, drift=drift.state, lost_lines=lambda: audit.lost, manifest=manifest
        )
    )
    start_http_server(9100)  # for Prometheus to scrape

    with DefendedSession("model.nip.onnx", observer=compose(counters, drift, audit)) as session:
        session.predict(images)
    print(counters.snapshot().flagged, "flagged of", counters.snapshot().rows)

Observers hear of every ``predict``, and of ``predict_stream``, which predicts batch by batch. They hear
nothing of ``predict_tensor``: its answers stay on the device, and looking at them would bring them to the
host. Hand flags over yourself where you have them: :meth:`DriftWatch.see`.

A session that is pickled takes its observer along by the observer's own rule, and fails to pickle if that one
cannot. Those of this package start anew in the other process, and in a forked child: each process counts what
it did itself (``session.observer`` is the copy), and snapshots are added where they come together.
"""

from nip_runtime.observe.alarm import Alarm, Direction, DriftState
from nip_runtime.observe.audit import Audit, FlaggedRow
from nip_runtime.observe.audit_file import AuditFile
from nip_runtime.observe.bursts import Burst, BurstState, BurstWatch
from nip_runtime.observe.counters import Counters
from nip_runtime.observe.drift import DriftWatch
from nip_runtime.observe.expected import Expected, Learned
from nip_runtime.observe.guard import Composed, Guarded, compose, guarded
from nip_runtime.observe.latency import BOUNDS_S, Latency
from nip_runtime.observe.protocol import ErrorObserver, Observer
from nip_runtime.observe.totals import Totals, merged

__all__ = [
    "BOUNDS_S",
    "Alarm",
    "Audit",
    "AuditFile",
    "Burst",
    "BurstState",
    "BurstWatch",
    "Composed",
    "Counters",
    "Direction",
    "DriftState",
    "DriftWatch",
    "ErrorObserver",
    "Expected",
    "FlaggedRow",
    "Guarded",
    "Latency",
    "Learned",
    "Observer",
    "Totals",
    "compose",
    "guarded",
    "merged",
]
