"""Second passes that look at something else than the view that the manifest names."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from nip_runtime.container.wire import encode_bytes, encode_int
from nip_runtime.names import PERTURBED, RAW_LOGITS, ROWS, SECOND_LOGITS
from tests.abuse.files.bad_file import BadFile, of_graph, of_manifest
from tests.abuse.files.edits import add_weight, both, insert_node, rewire, set_field
from tests.abuse.files.seal import Document, ManifestEdit
from tests.abuse.files.tree import NODE, Edit, Model

MEDIAN, SHIFT, BITS = "mirror-median", "shift", "blur-gain-bits-rho"
"""The golden files that are changed here."""
_TAKEN = "nip/taken/input"
_R = "nip/response/"
_OWN = "where the input's own rows should be"


def view_files() -> Iterator[BadFile]:
    """All of this kind."""
    yield from _operators()
    yield from _rows()
    yield from _mirrors()
    yield from _shifts()
    yield from _averages()
    yield from _levels()
    yield from _statements()
    yield from _second_passes()


def _between(output: str, operator: str, *others: str) -> Edit:
    """An edit that puts an operator before the first input of the node behind a value."""

    def edit(model: Model) -> None:
        given = model.node(output).text(1)
        insert_node(output, operator, [given, *others], "between")(model)
        rewire(output, 0, "between")(model)

    return edit


def _operator(output: str, name: str) -> Edit:
    """An edit that makes the node behind a value compute something else."""
    return lambda model: model.node(output).put(4, name)


def _axis(output: str, axis: int) -> Edit:
    def edit(model: Model) -> None:
        stated = encode_bytes(1, "axis") + encode_int(3, axis) + encode_int(20, 2)
        model.node(output).put(5, stated)

    return edit


def _instead(output: str, place: int, number: float, dtype: type[np.generic] = np.int64) -> Edit:
    """An edit that gives a node another stored number."""
    values = [int(number)] if dtype is np.int64 else [number]
    return both(add_weight("instead", np.array(values, dtype)), rewire(output, place, "instead"))


def _number(name: str, at: int, value: float, kind: str) -> Edit:
    """An edit that changes one number of a weight where it is stored."""

    def edit(model: Model) -> None:
        (part,) = model.weight(name).parts(9)
        assert isinstance(part.value, bytes)
        size = struct.calcsize(kind)
        part.value = part.value[: at * size] + struct.pack(kind, value) + part.value[(at + 1) * size :]

    return edit


def _operators() -> Iterator[BadFile]:
    yield of_graph(
        "view-then-relu",
        "Relu of .* where median has Max of 2 values",
        _between(PERTURBED, "Relu"),
        of=MEDIAN,
    )
    yield of_graph(
        "tanh-before-the-view", f"Tanh of {_TAKEN} {_OWN}", _between(f"{_R}slice_2", "Tanh"), of=MEDIAN
    )
    yield of_graph(
        "view-times-a-mask",
        f"Mul of {_TAKEN}, mask {_OWN}",
        both(add_weight("mask", np.array([0.0] * 28, np.float32)), _between(f"{_R}gather_2", "Mul", "mask")),
        of=SHIFT,
    )
    for place, name in ((f"{_R}max_30", "last"), (f"{_R}min_6", "first"), (f"{_R}min_26", "middle")):
        yield of_graph(
            f"median-of-means-{name}",
            "Mean of .* where median has M(ax|in) of",
            _operator(place, "Mean"),
            of=MEDIAN,
        )
    yield of_graph(
        "median-of-two-rows",
        "in median, where one value should be",
        rewire(f"{_R}max_8", 1, f"{_R}slice_4"),
        of=MEDIAN,
    )
    yield of_graph(
        "median-without-a-corner",
        "in median, where one value should be",
        rewire(f"{_R}gather_18", 0, f"{_R}min_9"),
        of=MEDIAN,
    )


def _rows() -> Iterator[BadFile]:
    yield of_graph(
        "view-of-early-evidence",
        rf"Gather \(axis 0\) of nip/early_evidence, {ROWS} {_OWN}",
        rewire(_TAKEN, 0, "nip/early_evidence"),
        of=MEDIAN,
    )
    yield of_graph(
        "view-of-the-first-row",
        rf"Gather \(axis 0\) of input, zeros {_OWN}",
        both(add_weight("zeros", np.array([0, 0, 0], np.int64)), rewire(_TAKEN, 1, "zeros")),
        of=SHIFT,
    )
    yield of_graph("rows-stored", rf"Gather \(axis 0\) of input, {ROWS} {_OWN}", _stored_rows, of=SHIFT)
    yield of_graph(
        "rows-of-channels", rf"Gather \(axis 1\) of input, {ROWS} {_OWN}", _axis(_TAKEN, 1), of=SHIFT
    )
    yield of_graph("view-of-all-rows", f"got input {_OWN}", rewire(f"{_R}gather_2", 0, "input"), of=SHIFT)


def _stored_rows(model: Model) -> None:
    """Whatever the screen picks, the second pass takes the first row."""
    model.node(ROWS).parts(2)[0].value = b"decoy"
    add_weight(ROWS, np.array([0], np.int64))(model)


def _mirrors() -> Iterator[BadFile]:
    mirror = f"{_R}slice_2"
    for name, place, number in (
        ("of-the-batch", 3, 0),
        ("of-rows", 3, 2),
        ("from-the-last-axis", 3, -1),
        ("without-the-last-column", 1, -2),
        ("without-the-first-column", 2, -28),
        ("of-every-other-column", 4, -2),
        ("that-turns-nothing", 4, 1),
    ):
        yield of_graph(
            f"mirror-{name}",
            "other numbers than those of mirror in instead",
            _instead(mirror, place, number),
            of=MEDIAN,
        )
    yield of_graph(
        "mirror-by-computed-numbers",
        f"one whose mirror depends on {ROWS}",
        rewire(mirror, 3, ROWS),
        of=MEDIAN,
    )
    yield of_graph(
        "mirror-by-int32",
        "one whose mirror depends on narrow",
        both(add_weight("narrow", np.array([3], np.int32)), rewire(mirror, 3, "narrow")),
        of=MEDIAN,
    )
    yield of_graph(
        "mirror-without-axis-and-step",
        "Slice of .* where mirror has Slice of 5 values",
        _short,
        of=MEDIAN,
    )


def _short(model: Model) -> None:
    mirror = model.node(f"{_R}slice_2")
    for part in mirror.parts(1)[3:]:
        mirror.fields.remove(part)


def _shifts() -> Iterator[BadFile]:
    rows = "nip/view_rows_-1_26_of_28"
    other = f"other numbers than those of shift in {rows}"
    for name, at, place in (
        ("negative", 0, -1),
        ("far-below", 0, -29),
        ("beyond-the-axis", 27, 28),
        ("far-beyond-the-axis", 27, 2**40),
        ("not-in-order", 5, 20),
        ("that-stays", 0, 1),
    ):
        yield of_graph(f"shift-rows-{name}", other, _number(rows, at, place, "<q"), of=SHIFT)
    yield of_graph(
        "shift-rows-too-many",
        "other numbers than those of shift in instead",
        both(
            add_weight("instead", np.array([0, *range(28)], np.int64)), rewire(f"{_R}gather_2", 1, "instead")
        ),
        of=SHIFT,
    )
    for axis, name in ((0, "the-batch"), (1, "channels"), (-2, "an-axis-from-the-end")):
        yield of_graph(
            f"shift-along-{name}",
            rf"Gather \(axis {axis}\) of .* where shift has Gather \(axis 2\) of 2 values",
            _axis(f"{_R}gather_2", axis),
            of=SHIFT,
        )
    yield of_graph(
        "shift-along-one-axis-alone",
        rf"Gather \(axis 0\) of input, {ROWS} where shift has Gather \(axis 2\)",
        rewire(f"{_R}gather_3", 0, _TAKEN),
        of=SHIFT,
    )
    yield of_graph("shift-twice", rf"Gather \(axis 2\) of {_TAKEN}, .* {_OWN}", _shifted_again, of=SHIFT)


def _shifted_again(model: Model) -> None:
    _between(f"{_R}gather_2", "Gather", "nip/view_rows_-1_26_of_28")(model)
    _axis("between", 2)(model)


def _averages() -> Iterator[BadFile]:
    one_value = "in blur, where one value should be"
    yield of_graph("blur-of-other-weights", one_value, rewire(f"{_R}mean_9", 2, f"{_R}slice_7"), of=BITS)
    yield of_graph("blur-of-another-value", one_value, rewire(f"{_R}gather_6", 0, _TAKEN), of=BITS)
    yield of_graph("blur-of-five", "Mean of .* where blur has Mean of 4 values", _fifth_value, of=BITS)
    yield of_graph(
        "blur-across-the-batch",
        "other numbers than those of blur in instead",
        _instead(f"{_R}slice_8", 3, 0),
        of=BITS,
    )
    yield of_graph(
        "blur-of-one-side",
        "other numbers than those of blur in nip/view_start_0",
        rewire(f"{_R}slice_4", 1, "nip/view_start_0"),
        of=BITS,
    )
    yield of_graph(
        "blur-edge-beyond-the-axis",
        "other numbers than those of blur in nip/view_rows_-1_28_of_28",
        _number("nip/view_rows_-1_28_of_28", 29, 28, "<q"),
        of=BITS,
    )


def _fifth_value(model: Model) -> None:
    model.node(f"{_R}mean_9").add(1, f"{_R}mean_5")


def _levels() -> Iterator[BadFile]:
    for name, value in (("a-little-less", 0.8999), ("nothing", 1.0), ("blackness", 0.0), ("negative", -0.9)):
        yield of_graph(
            f"gain-of-{name}",
            "other numbers than those of gain in nip/view_gain",
            _number("nip/view_gain", 0, value, "<f"),
            of=BITS,
        )
    yield of_graph(
        "gain-nan",
        "finite numbers in nip/view_gain",
        _number("nip/view_gain", 0, float("nan"), "<f"),
        of=BITS,
    )
    yield of_graph(
        "gain-by-column",
        "other numbers than those of gain in instead",
        both(add_weight("instead", np.array([0.9] * 28, np.float32)), rewire(f"{_R}mul_10", 1, "instead")),
        of=BITS,
    )
    yield of_graph(
        "gain-by-the-input",
        f"one whose gain depends on {_TAKEN}",
        rewire(f"{_R}mul_10", 1, _TAKEN),
        of=BITS,
    )
    for step, name in ((0.25, "of-five-values"), (0.0, "of-no-step"), (1 / 3 + 1e-6, "of-a-step-too-large")):
        yield of_graph(
            f"bits-{name}",
            "other numbers than those of bits in nip/view_step",
            _number("nip/view_step", 0, step, "<f"),
            of=BITS,
        )
    for output, place in (("mul_14", 1), ("div_12", 1), ("sub_11", 1), ("add_15", 1)):
        yield of_graph(
            f"bits-of-another-number-in-{output}",
            "other numbers than those of bits in instead",
            _instead(f"{_R}{output}", place, 0.5, np.float32),
            of=BITS,
        )
    yield of_graph(
        "bits-without-rounding",
        "Div of .* where bits has Round of 1 value",
        rewire(f"{_R}mul_14", 0, f"{_R}div_12"),
        of=BITS,
    )
    yield of_graph(
        "bits-rounded-up",
        "Ceil of .* where bits has Round of 1 value",
        _operator(f"{_R}round_13", "Ceil"),
        of=BITS,
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


def _statements() -> Iterator[BadFile]:
    """Graphs as they were, and manifests that say something else of them; then the same of ρ in the graph."""
    for name, of, view, says in (
        ("median-missing", SHIFT, "shift+median", "Gather .* where median has Max"),
        ("median-more", SHIFT, "median+shift", "Gather .* where median has Max"),
        ("mirror-unstated", MEDIAN, "median", f"Slice of {_TAKEN}, .* {_OWN}"),
        ("median-unstated", MEDIAN, "mirror", "Max of .* where mirror has Slice"),
        ("another-step", SHIFT, "mirror", "Gather .* where mirror has Slice"),
        ("another-order", MEDIAN, "median+mirror", "Max of .* where mirror has Slice"),
        ("bits-unstated", BITS, "blur+gain", "one whose gain depends on .*|Add of .* where gain has Mul"),
        ("gain-unstated", BITS, "blur+bits", "Mul of .* where blur has Mean"),
        ("no-view-but-rho", BITS, "", f"Add of .* {_OWN}"),
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
        rewire(PERTURBED, 0, f"{_R}add_15"),
        of=BITS,
    )
    yield of_graph(
        "rho-added-unstated",
        "Add of .* where shift has Gather",
        both(add_weight("moved", np.array([0.03] * 28, np.float32)), _between(PERTURBED, "Add", "moved")),
        of=SHIFT,
    )
    yield of_graph("rho-before-the-view", f"Add of {_TAKEN}, moved {_OWN}", _moved_before_the_view, of=MEDIAN)


def _as_version_1_2(document: Document) -> None:
    document["schema_version"] = "1.2"
    del document["gate"]


def _moved_before_the_view(model: Model) -> None:
    add_weight("moved", np.array([0.03] * 28, np.float32))(model)
    _between(f"{_R}slice_2", "Add", "moved")(model)


def _second_passes() -> Iterator[BadFile]:
    alone = f"expected a second pass that computes {SECOND_LOGITS} from {PERTURBED} alone, got one that "
    yield of_graph("second-pass-on-the-input", f"{alone}sees the input too", _on_the_input, of=SHIFT)
    yield of_graph(
        "second-pass-plus-the-first",
        f"{alone}sees the input too",
        _between(SECOND_LOGITS, "Add", RAW_LOGITS),
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
                part.value = _TAKEN.encode()


def _renamed(model: Model) -> None:
    for consumer in model.graph.messages(NODE):
        for part in (*consumer.parts(1), *consumer.parts(2)):
            if part.value == SECOND_LOGITS.encode():
                part.value = b"nip/other_logits"
