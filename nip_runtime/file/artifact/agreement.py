"""Compares a graph with the manifest: the same graph, and the same inputs and outputs."""

from __future__ import annotations

from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.container import Container
from nip_runtime.file.container.infos import TensorInfo
from nip_runtime.file.container.reader import printable
from nip_runtime.file.manifest import Manifest
from nip_runtime.file.names import CANDIDATE, FLAGGED, RAW_LOGITS, SUSPICION

AGAIN: Final = "export the model again"


def check_digest(container: Container, manifest: Manifest) -> None:
    """Refuse a graph other than the one the manifest was written for.

    Raises:
        ArtifactError: naming both digests.
    """
    if container.graph_digest != manifest.digests.graph:
        raise ArtifactError.mismatch(
            expected=f"graph digest {manifest.digests.graph}",
            got=container.graph_digest,
            fix=f"the graph was changed after export; get the original file, or {AGAIN}",
        )


def check_agreement(container: Container, manifest: Manifest) -> None:
    """Compare operator set, graph input and graph outputs.

    Raises:
        ArtifactError: at the first difference.
    """
    opset = container.opsets.get("", 0)
    if opset != manifest.provenance.opset:
        raise ArtifactError.mismatch(
            expected=f"opset {manifest.provenance.opset}", got=f"opset {opset}", fix=AGAIN
        )
    classes = manifest.output.classes
    _check_values("input", container.inputs, [(manifest.input.name, "float32", manifest.input.shape)])
    _check_values(
        "output",
        container.outputs,
        [
            (manifest.output.name, "float32", (classes,)),
            (RAW_LOGITS, "float32", (classes,)),
            (SUSPICION, "float32", ()),
            (FLAGGED, "bool", ()),
            (CANDIDATE, "int64", ()),
        ],
    )


def _check_values(
    kind: str, values: tuple[TensorInfo, ...], expected: list[tuple[str, str, tuple[int, ...]]]
) -> None:
    """Compare names, order, dtypes and shapes; the batch axis must be symbolic."""
    wanted_names = [name for name, _, _ in expected]
    names = [value.name for value in values]
    if names != wanted_names:
        raise ArtifactError.mismatch(
            expected=f"graph {kind}s {', '.join(wanted_names)}",
            got=printable(", ".join(names), 200) or "none",
            fix=AGAIN,
        )
    for value, (name, dtype, shape) in zip(values, expected, strict=True):
        batched = value.shape is not None and len(value.shape) > 0 and not isinstance(value.shape[0], int)
        if value.dtype != dtype or value.shape is None or not batched or value.shape[1:] != shape:
            raise ArtifactError.mismatch(
                expected=f"graph {kind} {name} {dtype} {_shown(('N', *shape))}",
                got=f"{value.dtype} {_shown(value.shape)}",
                fix=AGAIN,
            )


def _shown(shape: tuple[int | str | None, ...] | None) -> str:
    if shape is None:
        return "of unknown shape"
    sizes = ", ".join("?" if size is None else printable(str(size)) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"
