"""Edits that several bad graphs are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from nip_runtime.file.container.encoder import encode_tensor
from tests.abuse.files.seal import Document, ManifestEdit
from tests.abuse.files.tree import (
    INITIALIZER,
    NODE,
    Edit,
    Model,
    node,
)


def add_node(operator: str, inputs: list[str], *attributes: bytes, domain: str = "") -> Edit:
    """An edit that adds one node, whose result nothing uses."""

    def edit(model: Model) -> None:
        added = node(operator, inputs, ["added"], *attributes)
        if domain:
            added.add(7, domain)
        model.graph.add(NODE, added)

    return edit


def add_weight(name: str, values: np.ndarray) -> Edit:
    """An edit that adds a weight."""
    return lambda model: model.graph.add(INITIALIZER, encode_tensor(name, values))


def rewire(output: str, place: int, name: str) -> Edit:
    """An edit that gives the node behind a value another input."""

    def edit(model: Model) -> None:
        model.node(output).parts(1)[place].value = name.encode()

    return edit


def both(*edits: Edit) -> Edit:
    """One edit after the other."""

    def edit(model: Model) -> None:
        for one in edits:
            one(model)

    return edit


def insert_node(before: str, operator: str, inputs: list[str], output: str) -> Edit:
    """An edit that puts a node before the one that computes a value."""

    def edit(model: Model) -> None:
        place = next(i for i, part in enumerate(model.graph.fields) if part.value is model.node(before))
        model.graph.add(NODE, node(operator, inputs, [output]))
        model.graph.fields.insert(place, model.graph.fields.pop())

    return edit


def set_field(path: str, value: Any) -> ManifestEdit:
    """An edit that sets one field of a manifest, by its dotted path."""
    *parents, last = path.split(".")

    def edit(document: Document) -> None:
        inner = document
        for name in parents:
            inner = inner[name]
        inner[last] = value

    return edit
