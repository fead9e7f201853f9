"""Defences whose own numbers are not what the manifest says."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from tests.abuse.files.bad_file import BadFile, of_graph, of_manifest
from tests.abuse.files.edits import add_weight, both, insert_node, rewire, set_field
from tests.abuse.files.tree import NODE, Edit, Model

_FLOATS = (
    "readout/features.2/weight",
    "readout/features.2/bias",
    "disagreement_mean",
    "typicality_weight",
    "typicality_centres",
    "change_inverse_std",
    "early_weight",
    "response_inverse_std",
    "suspicion_knots",
    "response_tail_slopes",
    "nothing",
)
NAN, INF = float("nan"), float("inf")
WITH_BANK = "blur-gain-bits-rho"
"""The golden file of policy guarded that adds inverse perturbations."""


def defence_files() -> Iterator[BadFile]:
    """All of this kind."""
    yield from _banks()
    yield from _thresholds()


def raw(name: str, content: bytes) -> Edit:
    """An edit that replaces a weight's data."""
    return lambda model: model.weight(name).put(9, content)


def float32(name: str, value: float) -> Edit:
    """An edit that replaces the first number of a float32 weight."""

    def edit(model: Model) -> None:
        tensor = model.weight(name)
        (part,) = tensor.parts(9)
        assert isinstance(part.value, bytes)
        part.value = struct.pack("<f", value) + part.value[4:]

    return edit


def _banks() -> Iterator[BadFile]:
    beyond = "expected a bank within ±0.0313725.*, the manifest's ε, got .* which reach"
    no_bank = "expected a second pass on inputs moved by a stored bank"
    yield of_graph(
        "bank-step-doubled", beyond, float32("nip/bank_step_size", 2 * 8 / 255 / 127), of=WITH_BANK
    )
    yield of_graph(
        "bank-step-negative", beyond, float32("nip/bank_step_size", -2 * 8 / 255 / 127), of=WITH_BANK
    )
    yield of_graph(
        "bank-step-a-percent-more", beyond, float32("nip/bank_step_size", 1.01 * 8 / 255 / 127), of=WITH_BANK
    )
    yield of_graph("bank-of-minus-128", beyond, raw("nip/bank", b"\x80" * 784), of=WITH_BANK)
    yield of_graph(
        "bank-step-nan",
        "finite numbers in nip/bank_step_size",
        float32("nip/bank_step_size", NAN),
        of=WITH_BANK,
    )
    yield of_graph(
        "bank-step-inf",
        "finite numbers in nip/bank_step_size",
        float32("nip/bank_step_size", INF),
        of=WITH_BANK,
    )
    yield of_manifest(
        "manifest-of-smaller-eps",
        "expected a bank within ±0.01",
        set_field("defence.eps_pixel", 0.01),
        of=WITH_BANK,
    )
    yield of_manifest(
        "manifest-of-other-bank", "expected a bank of 2 rows", set_field("defence.bank.rows", 2), of=WITH_BANK
    )
    yield of_graph("no-clip", no_bank, lambda model: model.node("nip/perturbed").put(4, "Identity"))
    yield of_graph("clip-without-bounds", no_bank, _without_highest)
    yield of_graph("clip-beyond-bounds", "expected moved inputs cut at 1", float32("nip/highest", 2.0))
    yield of_graph("clip-below-bounds", "expected moved inputs cut at 0", float32("nip/lowest", -1.0))
    yield of_manifest(
        "manifest-of-other-bounds", "expected moved inputs cut at 0.5", set_field("input.bounds", [0.0, 0.5])
    )
    yield of_graph(
        "float-bank",
        "stored int8 steps|raw bytes",
        both(lambda model: model.weight("nip/bank").put(2, 1), raw("nip/bank", bytes(4 * 784))),
        of=WITH_BANK,
    )
    yield of_graph(
        "another-perturbation", no_bank, rewire("nip/perturbed", 0, "nip/taken/input"), of=WITH_BANK
    )
    yield of_graph("perturbation-scaled-again", no_bank, _scaled_again(), of=WITH_BANK)
    yield of_graph("bank-behind-another-name", no_bank, _renamed_perturbed)


def _without_highest(model: Model) -> None:
    clip = model.node("nip/perturbed")
    clip.fields.remove(clip.parts(1)[2])


def _scaled_again() -> Edit:
    """Multiplies what the bank gave once more, past ε."""
    added, moved = "nip/response/add_18", "nip/response/mul_17"
    hundred = add_weight("hundred", np.array(100, np.float32))
    return both(hundred, insert_node(added, "Mul", [moved, "hundred"], "more"), rewire(added, 1, "more"))


def _renamed_perturbed(model: Model) -> None:
    """The second pass runs on something else; what is checked is computed, too, elsewhere."""
    model.node("nip/perturbed").parts(2)[0].value = b"decoy"
    for consumer in model.graph.messages(NODE):
        for part in consumer.parts(1):
            if part.value == b"nip/perturbed":
                part.value = b"decoy"


def _thresholds() -> Iterator[BadFile]:
    finite = "expected finite numbers in "
    for name, short in (("nip/flag_threshold", "flag"), ("nip/screen_threshold", "screen")):
        for value in (NAN, INF, -INF):
            yield of_graph(f"{short}-threshold-{value}", finite + name, float32(name, value))
        yield of_graph(
            f"{short}-threshold-moved", f"expected {name} .*, as the manifest's", float32(name, 9.0)
        )
        yield of_manifest(
            f"manifest-of-other-{short}-threshold",
            f"expected {name} 9, as the manifest's {short}_threshold",
            set_field(f"defence.{short}_threshold", 9.0),
        )
    yield of_manifest(
        "manifest-without-screen",
        "expected no nip/screen_threshold",
        set_field("defence.screen_threshold", None),
    )
    yield of_manifest(
        "manifest-with-screen",
        "as nip/screen_threshold, got none",
        set_field("defence.screen_threshold", 1.0),
        of="always",
    )
    yield of_graph("threshold-unused", "a gate that compares with nip/flag_threshold", _unused)
    for weight in _FLOATS:
        for value in (NAN, INF):
            yield of_graph(
                f"{weight.replace('/', '-')}-{value}",
                f"{finite}nip/{weight}",
                float32(f"nip/{weight}", value),
            )
    yield of_manifest(
        "manifest-of-another-policy",
        "expected a graph of policy detect, got guarded",
        set_field("policy", "detect"),
    )
    yield of_manifest(
        "detect-as-guarded",
        "expected a graph of policy guarded, got detect",
        set_field("policy", "guarded"),
        of="detect",
    )


def _unused(model: Model) -> None:
    """The gate compares with another constant of the same value."""
    add_weight("other", np.array(1e9, np.float32))(model)
    for consumer in model.graph.messages(NODE):
        for part in consumer.parts(1):
            if part.value == b"nip/flag_threshold":
                part.value = b"other"
