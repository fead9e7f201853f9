"""Edits of the graph in which golden files show the second pass another view."""

from __future__ import annotations

import struct

import numpy as np

from nip_runtime.file.container.wire import encode_bytes, encode_int
from tests.abuse.files.edits import add_weight, both, insert_node, rewire
from tests.abuse.files.tree import Edit, Model

MEDIAN, SHIFT, BITS = "mirror-median", "shift", "blur-gain-bits-rho"
"""The golden files that are changed here."""
TAKEN = "nip/taken/input"
R = "nip/response/"
OWN = "where the input's own rows should be"


def between(output: str, operator: str, *others: str) -> Edit:
    """An edit that puts an operator before the first input of the node behind a value."""

    def edit(model: Model) -> None:
        given = model.node(output).text(1)
        insert_node(output, operator, [given, *others], "between")(model)
        rewire(output, 0, "between")(model)

    return edit


def operator_of(output: str, name: str) -> Edit:
    """An edit that makes the node behind a value compute something else."""
    return lambda model: model.node(output).put(4, name)


def axis_of(output: str, axis: int) -> Edit:
    def edit(model: Model) -> None:
        stated = encode_bytes(1, "axis") + encode_int(3, axis) + encode_int(20, 2)
        model.node(output).put(5, stated)

    return edit


def instead(output: str, place: int, number: float, dtype: type[np.generic] = np.int64) -> Edit:
    """An edit that gives a node another stored number."""
    values = [int(number)] if dtype is np.int64 else [number]
    return both(add_weight("instead", np.array(values, dtype)), rewire(output, place, "instead"))


def number_of(name: str, at: int, value: float, kind: str) -> Edit:
    """An edit that changes one number of a weight where it is stored."""

    def edit(model: Model) -> None:
        (part,) = model.weight(name).parts(9)
        assert isinstance(part.value, bytes)
        size = struct.calcsize(kind)
        part.value = part.value[: at * size] + struct.pack(kind, value) + part.value[(at + 1) * size :]

    return edit
