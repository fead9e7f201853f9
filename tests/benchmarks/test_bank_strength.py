"""The bank benchmark on the embedded example: few ascent steps and one attack, everything else as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.bank.forms import (
    READOUT_FORM,
    REFERENCE,
    FloatBank,
    Form,
    find_perturbations,
    make_bank,
    make_variant,
)
from benchmarks.bank.results import Strength
from benchmarks.bank.strength import Subject, answer, attack_line, measure
from nip_evaluate.attacks import catalogue, select
from nip_evaluate.given.store import AttackStore
from nip_evaluate.given.target import Undefended
from nip_evaluate.stages.craft import Crafter
from nip_export.config import ExportConfig
from nip_export.demo.example import load_example
from nip_export.fit.benign import at_the_door
from nip_export.network.run import tapped_network
from nip_export.pipeline import prepare_defence
from nip_export.support.progress import silent
from nip_export.verify import DefendedTwin
from nip_runtime.file.manifest import Policy

COARSE = Form(name="coarse", factor=7)
FORMS = (REFERENCE, Form(name="int8"), COARSE, READOUT_FORM)
ATTACKED = 100


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    example = load_example()
    config = ExportConfig(mean=example.mean, std=example.std, ascent_steps=4, batch_size=128)
    prepared = prepare_defence(
        example.model,
        example.profile.images[:400],
        example.profile.labels[:400],
        calibration=(example.calibration.images[:400], example.calibration.labels[:400]),
        config=config,
    )
    test = at_the_door(example.test)
    probe = torch.from_numpy(test.inputs[:2].copy())
    network = tapped_network(example.model, probe, [], mean=example.mean, std=example.std)
    store = AttackStore(tmp_path_factory.mktemp("attacks"))
    crafter = Crafter(store, test.inputs[:ATTACKED], test.labels[:ATTACKED], 0, silent)
    attacked = crafter.craft(
        select(["FGSM 8/255"], catalogue()), Undefended(network.eval()).eval().requires_grad_(False)
    )
    return Subject("example", prepared, test.inputs, test.labels, attacked)


@pytest.fixture(scope="module", params=[Policy.GUARDED, Policy.ALWAYS], ids=str)
def strength(request: pytest.FixtureRequest, subject: Subject) -> Strength:
    return measure(subject, request.param, silent, FORMS)


def test_the_reference_is_compared_with_itself(strength: Strength) -> None:
    first = strength.forms[0]
    assert first.name == REFERENCE.name
    assert first.against_reference.value == first.cost_against_reference.value == 0
    assert first.attacks[0].against_reference.value == 0


def test_differences_are_those_of_the_rates(strength: Strength) -> None:
    first = strength.forms[0]
    assert first.attacks[0].successes > 20
    for form in strength.forms:
        assert form.mean_dsr.value - first.mean_dsr.value == pytest.approx(form.against_reference.value)
        assert form.cost.value - first.cost.value == pytest.approx(form.cost_against_reference.value)
        (line,) = form.attacks
        assert line.dsr.value == form.mean_dsr.value, "one attack is its own mean"
        assert (line.name, line.successes) == (first.attacks[0].name, first.attacks[0].successes)


def test_sizes_are_those_of_what_is_stored(strength: Strength) -> None:
    rows = 10 if strength.policy == "always" else 1
    dense, fine, coarse, readouts = strength.forms
    assert [form.bank_bytes for form in (dense, fine, coarse)] == [4 * 784 * rows, 784 * rows, 16 * rows]
    assert readouts.readout_bytes < 0.3 * dense.readout_bytes == 0.3 * fine.readout_bytes


def test_flags_are_counted_where_there_is_a_gate(strength: Strength) -> None:
    assert all((form.flagged is None) == (strength.policy == "always") for form in strength.forms)


def test_perturbations_are_found_on_the_grid_they_are_stored_on(subject: Subject) -> None:
    bench = subject.prepared.bench
    found = find_perturbations(bench, subject.prepared, COARSE)
    assert found.shape == (1, 1, 4, 4)
    stored = make_bank(bench, COARSE, found)
    block = stored.dense()[0, 0].reshape(4, 7, 4, 7)
    assert np.array_equal(block, np.broadcast_to(block[:, :1, :, :1], block.shape))
    other = find_perturbations(bench, subject.prepared, replace(COARSE, other_seed=True))
    assert not torch.equal(found, other)


def test_nothing_is_rounded_off_the_reference_and_the_twin_adds_it(subject: Subject) -> None:
    bench = subject.prepared.bench
    found = find_perturbations(bench, subject.prepared, REFERENCE) * 0.777  # off the steps
    exact, stored = (make_bank(bench, form, found) for form in (REFERENCE, Form(name="int8")))
    assert isinstance(exact, FloatBank)
    np.testing.assert_array_equal(exact.dense(), found.numpy())
    rounding = np.abs(stored.dense() - exact.dense()).max()
    assert 0 < rounding <= bench.config.eps / 254 * 1.001
    variant = make_variant(subject.prepared, Policy.GUARDED, REFERENCE, exact)
    assert isinstance(variant.twin, DefendedTwin)
    np.testing.assert_array_equal(variant.twin.bank.numpy(), exact.dense())


def test_gates_are_calibrated_anew_for_every_form(subject: Subject) -> None:
    bench = subject.prepared.bench
    gates = []
    for form in (REFERENCE, COARSE):
        bank = make_bank(bench, form, find_perturbations(bench, subject.prepared, form))
        variant = make_variant(subject.prepared, Policy.GUARDED, form, bank)
        assert variant.budget == bench.config.benign_budget
        gates.append(variant.spec.gate)
    assert gates[0].flag_threshold != gates[1].flag_threshold
    assert gates[0].screen_threshold == gates[1].screen_threshold, "the screen sees pass 1 alone"


def test_an_attack_outside_the_core_is_compared_too(subject: Subject) -> None:
    bench = subject.prepared.bench
    bank = make_bank(bench, COARSE, find_perturbations(bench, subject.prepared, COARSE))
    (outcome,) = answer(subject, make_variant(subject.prepared, Policy.GUARDED, COARSE, bank)).outcomes
    line = attack_line(replace(outcome, case=replace(outcome.case, core=False)), outcome)
    assert line.dsr.value == outcome.repaired.sum() / outcome.successful.sum()
    assert line.successes == outcome.successful.sum() and line.dsr.n == ATTACKED
