"""Passes without gradients run in onnxruntime; what the finished file is compared with runs in torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nip_export.fit.bench import Bench
from nip_export.pipeline import forward_of, prepare_defence
from tests.export.networks import net


class Silent:
    """Stands where onnxruntime does, and must not be asked."""

    def run(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("asked onnxruntime")


@pytest.fixture(scope="module")
def bench() -> Bench:
    case = net("mlp")
    (images, labels), calibration = case.benign()
    model, config = case.train(), case.config(ascent_steps=1)
    return prepare_defence(model, images, labels, calibration=calibration, config=config).bench


def test_a_cpu_runs_the_graph_that_the_file_is_made_from(bench: Bench) -> None:
    inputs = bench.calibration.feed[:40]
    found, wanted = bench.run(inputs), bench.run_in_torch(inputs)
    assert bench.exported is not None and found.pooled.keys() == wanted.pooled.keys()
    np.testing.assert_allclose(found.logits, wanted.logits, rtol=0, atol=1e-4)
    for name, values in wanted.pooled.items():
        np.testing.assert_allclose(found.pooled[name], values, rtol=0, atol=1e-4)
    silent: Any = Silent()
    with pytest.raises(AssertionError, match="asked onnxruntime"):
        replace(bench, exported=silent).run(inputs)


def test_the_reference_of_the_finished_file_is_torch(bench: Bench) -> None:
    inputs, silent = bench.calibration.feed[:40], Silent()
    alone: Any = replace(bench, exported=silent)  # type: ignore[arg-type]
    found = forward_of(alone, bench.trial.backbone, [])(inputs)
    assert found.logits.tobytes() == bench.run_in_torch(inputs).logits.tobytes()
