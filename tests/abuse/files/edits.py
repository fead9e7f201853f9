"""Edits that several bad graphs are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from nip_runtime.container.encoder import encode_tensor
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


def set_field(path: str, value: Any) -> ManifestEdit:
    """An edit that sets one field of a manifest, by its dotted path."""
    *parents, last = path.split(".")

    def edit(document: Document) -> None:
        inner = document
        for name in parents:
            inner = inner[name]
        inner[last] = value

    return edit
