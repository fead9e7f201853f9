"""Both engines on converted files."""

from __future__ import annotations

import numpy as np

from nip_runtime.session import DefendedSession
from tests.precision.made import Made


def test_both_engines_answer_alike(converted: Made) -> None:
    inputs = converted.inputs
    found = {}
    for engine in ("fused", "gated"):
        with DefendedSession(converted.path, device="cpu", threads=1, engine=engine) as session:
            found[engine] = session.predict(inputs)
    one, other = found["fused"], found["gated"]
    assert 0 < one.flagged.sum() < len(inputs)
    np.testing.assert_array_equal(one.flagged, other.flagged)
    np.testing.assert_array_equal(one.labels, other.labels)
    if converted.report.manifest.precision == "int8":
        np.testing.assert_array_equal(one.logits, other.logits)
        np.testing.assert_array_equal(one.suspicion, other.suspicion)
    # In fp16 the CPU provider rounds by the kernel it picks: another one for weights that two copies share.
    np.testing.assert_allclose(one.raw_logits, other.raw_logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one.suspicion, other.suspicion, atol=1e-3)
