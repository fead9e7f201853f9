"""Second passes that look at something else than the view that the manifest names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nip_runtime.file.names import PERTURBED, ROWS
from tests.abuse.files.bad_file import BadFile, of_graph
from tests.abuse.files.edits import add_weight, both, rewire
from tests.abuse.files.tree import Model
from tests.abuse.files.view_edits import (
    BITS,
    MEDIAN,
    OWN,
    SHIFT,
    TAKEN,
    R,
    axis_of,
    between,
    instead,
    number_of,
    operator_of,
)
from tests.abuse.files.view_statements import second_passes, statements


def view_files() -> Iterator[BadFile]:
    """All of this kind."""
    yield from _operators()
    yield from _rows()
    yield from _mirrors()
    yield from _shifts()
    yield from _averages()
    yield from _levels()
    yield from statements()
    yield from second_passes()


def _operators() -> Iterator[BadFile]:
    yield of_graph(
        "view-then-relu",
        "Relu of .* where median has Max of 2 values",
        between(PERTURBED, "Relu"),
        of=MEDIAN,
    )
    yield of_graph(
        "tanh-before-the-view",
        f"Tanh of {TAKEN} {OWN}",
        between(f"{R}slice_2", "Tanh"),
        of=MEDIAN,
    )
    yield of_graph(
        "view-times-a-mask",
        f"Mul of {TAKEN}, mask {OWN}",
        both(
            add_weight("mask", np.array([0.0] * 28, np.float32)),
            between(f"{R}gather_2", "Mul", "mask"),
        ),
        of=SHIFT,
    )
    for place, name in (
        (f"{R}max_30", "last"),
        (f"{R}min_6", "first"),
        (f"{R}min_26", "middle"),
    ):
        yield of_graph(
            f"median-of-means-{name}",
            "Mean of .* where median has M(ax|in) of",
            operator_of(place, "Mean"),
            of=MEDIAN,
        )
    yield of_graph(
        "median-of-two-rows",
        "in median, where one value should be",
        rewire(f"{R}max_8", 1, f"{R}slice_4"),
        of=MEDIAN,
    )
    yield of_graph(
        "median-without-a-corner",
        "in median, where one value should be",
        rewire(f"{R}gather_18", 0, f"{R}min_9"),
        of=MEDIAN,
    )


def _rows() -> Iterator[BadFile]:
    yield of_graph(
        "view-of-early-evidence",
        rf"Gather \(axis 0\) of nip/early_evidence, {ROWS} {OWN}",
        rewire(TAKEN, 0, "nip/early_evidence"),
        of=MEDIAN,
    )
    yield of_graph(
        "view-of-the-first-row",
        rf"Gather \(axis 0\) of input, zeros {OWN}",
        both(add_weight("zeros", np.array([0, 0, 0], np.int64)), rewire(TAKEN, 1, "zeros")),
        of=SHIFT,
    )
    yield of_graph("rows-stored", rf"Gather \(axis 0\) of input, {ROWS} {OWN}", _stored_rows, of=SHIFT)
    yield of_graph(
        "rows-of-channels", rf"Gather \(axis 1\) of input, {ROWS} {OWN}", axis_of(TAKEN, 1), of=SHIFT
    )
    yield of_graph("view-of-all-rows", f"got input {OWN}", rewire(f"{R}gather_2", 0, "input"), of=SHIFT)


def _stored_rows(model: Model) -> None:
    """Whatever the screen picks, the second pass takes the first row."""
    model.node(ROWS).parts(2)[0].value = b"decoy"
    add_weight(ROWS, np.array([0], np.int64))(model)


def _mirrors() -> Iterator[BadFile]:
    mirror = f"{R}slice_2"
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
            instead(mirror, place, number),
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
    mirror = model.node(f"{R}slice_2")
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
        yield of_graph(f"shift-rows-{name}", other, number_of(rows, at, place, "<q"), of=SHIFT)
    yield of_graph(
        "shift-rows-too-many",
        "other numbers than those of shift in instead",
        both(
            add_weight("instead", np.array([0, *range(28)], np.int64)),
            rewire(f"{R}gather_2", 1, "instead"),
        ),
        of=SHIFT,
    )
    for axis, name in ((0, "the-batch"), (1, "channels"), (-2, "an-axis-from-the-end")):
        yield of_graph(
            f"shift-along-{name}",
            rf"Gather \(axis {axis}\) of .* where shift has Gather \(axis 2\) of 2 values",
            axis_of(f"{R}gather_2", axis),
            of=SHIFT,
        )
    yield of_graph(
        "shift-along-one-axis-alone",
        rf"Gather \(axis 0\) of input, {ROWS} where shift has Gather \(axis 2\)",
        rewire(f"{R}gather_3", 0, TAKEN),
        of=SHIFT,
    )
    yield of_graph("shift-twice", rf"Gather \(axis 2\) of {TAKEN}, .* {OWN}", _shifted_again, of=SHIFT)


def _shifted_again(model: Model) -> None:
    between(f"{R}gather_2", "Gather", "nip/view_rows_-1_26_of_28")(model)
    axis_of("between", 2)(model)


def _averages() -> Iterator[BadFile]:
    one_value = "in blur, where one value should be"
    yield of_graph("blur-of-other-weights", one_value, rewire(f"{R}mean_9", 2, f"{R}slice_7"), of=BITS)
    yield of_graph("blur-of-another-value", one_value, rewire(f"{R}gather_6", 0, TAKEN), of=BITS)
    yield of_graph("blur-of-five", "Mean of .* where blur has Mean of 4 values", _fifth_value, of=BITS)
    yield of_graph(
        "blur-across-the-batch",
        "other numbers than those of blur in instead",
        instead(f"{R}slice_8", 3, 0),
        of=BITS,
    )
    yield of_graph(
        "blur-of-one-side",
        "other numbers than those of blur in nip/view_start_0",
        rewire(f"{R}slice_4", 1, "nip/view_start_0"),
        of=BITS,
    )
    yield of_graph(
        "blur-edge-beyond-the-axis",
        "other numbers than those of blur in nip/view_rows_-1_28_of_28",
        number_of("nip/view_rows_-1_28_of_28", 29, 28, "<q"),
        of=BITS,
    )


def _fifth_value(model: Model) -> None:
    model.node(f"{R}mean_9").add(1, f"{R}mean_5")


def _levels() -> Iterator[BadFile]:
    for name, value in (("a-little-less", 0.8999), ("nothing", 1.0), ("blackness", 0.0), ("negative", -0.9)):
        yield of_graph(
            f"gain-of-{name}",
            "other numbers than those of gain in nip/view_gain",
            number_of("nip/view_gain", 0, value, "<f"),
            of=BITS,
        )
    yield of_graph(
        "gain-nan",
        "finite numbers in nip/view_gain",
        number_of("nip/view_gain", 0, float("nan"), "<f"),
        of=BITS,
    )
    yield of_graph(
        "gain-by-column",
        "other numbers than those of gain in instead",
        both(add_weight("instead", np.array([0.9] * 28, np.float32)), rewire(f"{R}mul_10", 1, "instead")),
        of=BITS,
    )
    yield of_graph(
        "gain-by-the-input",
        f"one whose gain depends on {TAKEN}",
        rewire(f"{R}mul_10", 1, TAKEN),
        of=BITS,
    )
    for step, name in ((0.25, "of-five-values"), (0.0, "of-no-step"), (1 / 3 + 1e-6, "of-a-step-too-large")):
        yield of_graph(
            f"bits-{name}",
            "other numbers than those of bits in nip/view_step",
            number_of("nip/view_step", 0, step, "<f"),
            of=BITS,
        )
    for output, place in (("mul_14", 1), ("div_12", 1), ("sub_11", 1), ("add_15", 1)):
        yield of_graph(
            f"bits-of-another-number-in-{output}",
            "other numbers than those of bits in instead",
            instead(f"{R}{output}", place, 0.5, np.float32),
            of=BITS,
        )
    yield of_graph(
        "bits-without-rounding",
        "Div of .* where bits has Round of 1 value",
        rewire(f"{R}mul_14", 0, f"{R}div_12"),
        of=BITS,
    )
    yield of_graph(
        "bits-rounded-up",
        "Ceil of .* where bits has Round of 1 value",
        operator_of(f"{R}round_13", "Ceil"),
        of=BITS,
    )
