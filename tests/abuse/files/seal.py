"""Golden files opened up: changed, then given a digest that fits again, as an attacker would."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from nip_runtime.file.container import encode_metadata_entry, parse_container, wire
from nip_runtime.file.names import MANIFEST_KEY
from tests.abuse.files.tree import GRAPH, METADATA, Edit, edited, take_apart

GOLDENS: Final = Path(__file__).resolve().parents[2] / "goldens"

Document = dict[str, Any]
ManifestEdit = Callable[[Document], None]


@cache
def golden(name: str = "guarded") -> bytes:
    """A golden file."""
    return (GOLDENS / f"{name}.onnx").read_bytes()


@cache
def manifest_text(name: str = "guarded") -> str:
    """Its manifest."""
    return parse_container(golden(name)).metadata[MANIFEST_KEY]


@cache
def bare(name: str = "guarded") -> bytes:
    """The golden file without its manifest."""
    root = take_apart(golden(name))
    root.drop(METADATA)
    return root.encode()


def with_text(model: bytes, text: str) -> bytes:
    """A model under a manifest of any text."""
    return model + encode_metadata_entry(MANIFEST_KEY, text)


def sealed(model: bytes, edit: ManifestEdit | None = None, *, name: str = "guarded") -> bytes:
    """A model under the golden file's manifest, its digest made to fit, then changed by ``edit``."""
    document: Document = json.loads(manifest_text(name))
    document["digests"]["graph"] = _digest(model)
    if edit is not None:
        edit(document)
    return with_text(model, json.dumps(document))


def resealed(edit: Edit, *, name: str = "guarded") -> bytes:
    """The golden file with its graph changed and the digest made to fit."""
    return sealed(edited(bare(name), edit), name=name)


def restated(edit: ManifestEdit, *, name: str = "guarded") -> bytes:
    """The golden file with its manifest changed."""
    return sealed(bare(name), edit, name=name)


def _digest(model: bytes) -> str:
    """Of the graph's bytes as they stand, whether or not the reader would take the model."""
    graph = next(field for field in wire.fields(model, 0, len(model)) if field.number == GRAPH)
    return f"sha256:{hashlib.sha256(model[graph.start : graph.stop]).hexdigest()}"
