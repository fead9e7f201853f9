"""Opens a defended file for inspection and refuses everything that is not exactly what its manifest says.

All of it happens before onnxruntime sees the file: crafted models can crash it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nip_runtime.container import Container, mapped, parse_container
from nip_runtime.errors import ArtifactError
from nip_runtime.graph import TensorInfo
from nip_runtime.manifest import Manifest, read_manifest
from nip_runtime.names import CANDIDATE, FLAGGED, MANIFEST_KEY, RAW_LOGITS, SUSPICION
from nip_runtime.wire import Buffer

_log = logging.getLogger(__name__)

_CONTROL_FLOW: Final = ("If", "Loop", "Scan")
_AGAIN: Final = "export the model again"


@dataclass(frozen=True)
class Artifact:
    """A defended file that agrees with its manifest."""

    path: Path
    container: Container
    manifest: Manifest


def read_artifact(path: str | Path) -> Artifact:
    """Read and check the defended file at ``path``.

    Raises:
        ArtifactError: if it is missing, no whole ONNX file, has no or a bad manifest, or differs from it.
    """
    with opened(path) as (artifact, _):
        return artifact


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[Artifact, Buffer]]:
    """The defended file at ``path``, checked, and while the block runs its bytes: what was checked is run.

    Raises:
        ArtifactError: as :func:`read_artifact`.
    """
    path = Path(path)
    with mapped(path) as buffer:
        container = parse_container(buffer, origin=str(path))
        try:
            manifest = check_container(container)
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error}") from error
        _log.debug("%s agrees with its manifest", path)
        yield Artifact(path, container, manifest), buffer


def check_container(container: Container) -> Manifest:
    """Return the manifest of a defended file, having compared the two.

    Raises:
        ArtifactError: if there is no manifest, a bad one, or one that differs from the file.
    """
    text = container.metadata.get(MANIFEST_KEY)
    if text is None:
        raise ArtifactError.mismatch(
            expected="a defended file",
            got=f"a plain ONNX model (no {MANIFEST_KEY!r} in its metadata)",
            fix="make one with `nip export`, or run this one in onnxruntime directly",
        )
    manifest = read_manifest(text)
    _check_profile(container)
    _check_agreement(container, manifest)
    return manifest


def _check_profile(container: Container) -> None:
    """Only what a defended file is made of: one self-contained graph of standard operators."""
    foreign = [name for name in container.operators if "." in name]
    control = [name for name in _CONTROL_FLOW if name in container.operators]
    external = [initializer.name for initializer in container.initializers if initializer.external]
    for expected, found in (
        ("standard operators only", foreign),
        ("no control flow", control),
        ("all weights inside the file", external),
        ("no model-local functions", [str(container.functions)] if container.functions else []),
    ):
        if found:
            raise ArtifactError.mismatch(expected=expected, got=", ".join(found[:3]), fix=_AGAIN)


def _check_agreement(container: Container, manifest: Manifest) -> None:
    if container.graph_digest != manifest.digests.graph:
        raise ArtifactError.mismatch(
            expected=f"graph digest {manifest.digests.graph}",
            got=container.graph_digest,
            fix=f"the graph was changed after export; get the original file, or {_AGAIN}",
        )
    opset = container.opsets.get("", 0)
    if opset != manifest.provenance.opset:
        raise ArtifactError.mismatch(
            expected=f"opset {manifest.provenance.opset}", got=f"opset {opset}", fix=_AGAIN
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
            expected=f"graph {kind}s {', '.join(wanted_names)}", got=", ".join(names) or "none", fix=_AGAIN
        )
    for value, (name, dtype, shape) in zip(values, expected, strict=True):
        batched = value.shape is not None and len(value.shape) > 0 and not isinstance(value.shape[0], int)
        if value.dtype != dtype or value.shape is None or not batched or value.shape[1:] != shape:
            raise ArtifactError.mismatch(
                expected=f"graph {kind} {name} {dtype} {_shown(('N', *shape))}",
                got=f"{value.dtype} {_shown(value.shape)}",
                fix=_AGAIN,
            )


def _shown(shape: tuple[int | str | None, ...] | None) -> str:
    if shape is None:
        return "of unknown shape"
    sizes = ", ".join("?" if size is None else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"
