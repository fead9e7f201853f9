"""Manifests that say something else of the second pass than the graph does, and graphs changed likewise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nip_runtime.file.names import PERTURBED, RAW_LOGITS, SECOND_LOGITS
from tests.abuse.files.bad_file import BadFile, of_graph, of_manifest
from tests.abuse.files.edits import add_weight, both, rewire, set_field
from tests.abuse.files.seal import Document, ManifestEdit
from tests.abuse.files.tree import NODE, Model
from tests.abuse.files.view_edits import (
    BITS,
    MEDIAN,
    OWN,
    SHIFT,
    TAKEN,
    R,
    between,
)


def _stating(
    *, rho: bool | None = None, bank_bytes: int | None = None, view: str | None = None
) -> ManifestEdit:
    def edit(document: Document) -> None:
        gate, bank = document["gate"], document["defence"]["bank"]
        gate["rho"] = gate["rho"] if rho is None else rho
        gate["view"] = gate["view"] if view is None else [step for step in view.split("+") if step]
        bank["size_bytes"] = bank["size_bytes"] if bank_bytes is None else bank_bytes

    return edit


def statements() -> Iterator[BadFile]:
    """Graphs as they were, and manifests that say something else of them; then the same of ρ in the graph."""
    for name, of, view, says in (
        ("median-missing", SHIFT, "shift+median", "Gather .* where median has Max"),
        ("median-more", SHIFT, "median+shift", "Gather .* where median has Max"),
        ("mirror-unstated", MEDIAN, "median", f"Slice of {TAKEN}, .* {OWN}"),
        ("median-unstated", MEDIAN, "mirror", "Max of .* where mirror has Slice"),
        ("another-step", SHIFT, "mirror", "Gather .* where mirror has Slice"),
        ("another-order", MEDIAN, "median+mirror", "Max of .* where mirror has Slice"),
        ("bits-unstated", BITS, "blur+gain", "one whose gain depends on .*|Add of .* where gain has Mul"),
        ("gain-unstated", BITS, "blur+bits", "Mul of .* where blur has Mean"),
        ("no-view-but-rho", BITS, "", f"Add of .* {OWN}"),
    ):
        yield of_manifest(f"manifest-of-a-view-{name}", says, _stating(view=view), of=of)
    yield of_manifest(
        "manifest-of-a-view-with-a-step-twice",
        "every step at most once",
        _stating(view="shift+shift"),
        of=SHIFT,
    )
    yield of_manifest(
        "manifest-of-no-view-at-all", "true where the view has no step", _stating(view=""), of=SHIFT
    )
    no_bank = "expected a second pass on inputs moved by a stored bank"
    yield of_manifest("manifest-of-rho-that-is-not-there", no_bank, _stating(rho=True), of=MEDIAN)
    yield of_manifest("manifest-without-a-gate", no_bank, set_field("gate", None), of=MEDIAN)
    yield of_manifest("manifest-of-version-1-2", no_bank, _as_version_1_2, of=SHIFT)
    unstated = "no bank, as the manifest's view adds no inverse perturbation, got"
    yield of_manifest(
        "manifest-of-a-bank-unused", f"{unstated} 784 bytes", _stating(bank_bytes=784), of=MEDIAN
    )
    yield of_manifest("manifest-without-rho", f"{unstated} 784 bytes", _stating(rho=False), of=BITS)
    yield of_manifest(
        "manifest-without-rho-and-bank",
        f"{unstated} nip/bank in the graph",
        _stating(rho=False, bank_bytes=0),
        of=BITS,
    )
    yield of_graph(
        "bank-unused",
        f"{unstated} nip/bank in the graph",
        add_weight("nip/bank", np.array([1] * 784, np.int8)),
        of=SHIFT,
    )
    yield of_manifest(
        "manifest-of-a-smaller-bank",
        "expected a bank of 196 bytes, as in the manifest, got 784",
        _stating(bank_bytes=196),
        of=BITS,
    )
    yield of_graph(
        "rho-left-out",
        "Mul of .* where bits has Add of 2 values",
        rewire(PERTURBED, 0, f"{R}add_15"),
        of=BITS,
    )
    yield of_graph(
        "rho-added-unstated",
        "Add of .* where shift has Gather",
        both(add_weight("moved", np.array([0.03] * 28, np.float32)), between(PERTURBED, "Add", "moved")),
        of=SHIFT,
    )
    yield of_graph("rho-before-the-view", f"Add of {TAKEN}, moved {OWN}", _moved_before_the_view, of=MEDIAN)


def _as_version_1_2(document: Document) -> None:
    document["schema_version"] = "1.2"
    del document["gate"]


def _moved_before_the_view(model: Model) -> None:
    add_weight("moved", np.array([0.03] * 28, np.float32))(model)
    between(f"{R}slice_2", "Add", "moved")(model)


def second_passes() -> Iterator[BadFile]:
    alone = f"expected a second pass that computes {SECOND_LOGITS} from {PERTURBED} alone, got one that "
    yield of_graph("second-pass-on-the-input", f"{alone}sees the input too", _on_the_input, of=SHIFT)
    yield of_graph(
        "second-pass-plus-the-first",
        f"{alone}sees the input too",
        between(SECOND_LOGITS, "Add", RAW_LOGITS),
        of=MEDIAN,
    )
    yield of_graph(
        "second-pass-on-nothing",
        f"{alone}does not",
        rewire(SECOND_LOGITS, 0, "classifier.weight"),
        of=SHIFT,
    )
    yield of_graph("second-pass-of-another-name", f"{alone}does not", _renamed, of=BITS)


def _on_the_input(model: Model) -> None:
    """What was checked is computed, and nobody looks at it."""
    for consumer in model.graph.messages(NODE):
        for part in consumer.parts(1):
            if part.value == PERTURBED.encode():
                part.value = TAKEN.encode()


def _renamed(model: Model) -> None:
    for consumer in model.graph.messages(NODE):
        for part in (*consumer.parts(1), *consumer.parts(2)):
            if part.value == SECOND_LOGITS.encode():
                part.value = b"nip/other_logits"
