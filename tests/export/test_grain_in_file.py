"""Whoever reads a file that minds grain sees what its screen sees: bench, evaluation and attackers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nip_evaluate.adaptive.passes import excess, read_gate, read_passes
from nip_evaluate.adaptive.relaxed import soft_gate
from nip_evaluate.given.file_gate import FileGate
from nip_export.verify import DefendedTwin
from nip_runtime.file.names import SIGHT
from nip_runtime.operate.bench.shares import look
from nip_runtime.run.engine.cut import Sliceable
from tests.export.made import Made, Workshop, open_file
from tests.export.test_parity import clear_rows

NEARLY_HARD = 1e-3
"""A temperature at which soft choices are the graph's own."""


@pytest.fixture(scope="module")
def made(workshop: Workshop) -> Made:
    """A colour network's file, which has photographs' grain in its screen."""
    found = workshop.export("resnet", "guarded", "shift+blur+rho")
    assert found.report.spec.gate.grain_tail is not None
    return found


@pytest.fixture(scope="module")
def twin(made: Made) -> DefendedTwin:
    return copy.deepcopy(DefendedTwin(made.report.network, made.report.spec)).eval()


def screened(made: Made) -> NDArray[np.bool_]:
    """What the screen says, after it was seen that grain changes it."""
    reading, cut = made.expected.reading, made.report.spec.gate.screen_threshold
    assert cut is not None
    assert (reading.screened != ~(reading.free <= cut)).any(), "no row is sent on or kept because of grain"
    return np.asarray(reading.screened)


def test_the_evaluation_of_a_file_sends_on_what_the_file_sends_on(made: Made) -> None:
    rows, view = clear_rows(made), FileGate(made.path, made.report.spec, "input")(made.inputs)
    np.testing.assert_array_equal(view.flaggable[rows], screened(made)[rows])


def test_bench_orders_inputs_by_what_the_screen_looks_at(made: Made) -> None:
    model = Sliceable(made.path.read_bytes())
    assert SIGHT in model.computed
    found = look(model, open_file, "input", made.inputs)
    assert screened(made).any()
    np.testing.assert_allclose(found.statistic, made.expected.reading.sight, rtol=0, atol=1e-2)


def test_an_attacker_under_the_gate_sees_the_screen(made: Made, twin: DefendedTwin) -> None:
    inputs, rows = torch.from_numpy(made.inputs), clear_rows(made)
    with torch.no_grad():
        passes, outputs = read_passes(twin, inputs), twin(inputs)
        gate = read_gate(twin, passes, passes.raw.argmax(1))
    assert screened(made).any()
    torch.testing.assert_close(gate.sight, outputs.sight)
    over = excess(twin, gate).numpy()
    np.testing.assert_array_equal(over[rows] > 0, outputs.flagged.numpy()[rows])


def test_soft_choices_at_a_low_temperature_are_the_screens(made: Made, twin: DefendedTwin) -> None:
    inputs, rows = torch.from_numpy(made.inputs), clear_rows(made)
    with torch.no_grad():
        passes = read_passes(twin, inputs)
        log_flag, _, _ = soft_gate(twin, passes, NEARLY_HARD)
    sure = rows & screened(made)
    np.testing.assert_array_equal(log_flag.exp().numpy()[rows] > 0.5, made.expected.reading.flagged[rows])
    assert (log_flag.numpy()[~sure & rows] < np.log(0.5)).all()
