"""Opens a defended file for inspection and refuses everything that is not exactly what its manifest says.

All of it happens before onnxruntime sees the file: crafted models can crash it. The file is read once; the
bytes that were checked are the bytes that run, whatever happens to the file meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nip_runtime.errors import ArtifactError, InputError
from nip_runtime.file.allowed import LIMITS, Limits
from nip_runtime.file.artifact.agreement import check_agreement, check_digest
from nip_runtime.file.artifact.defence import check_defence
from nip_runtime.file.artifact.growth import check_growth
from nip_runtime.file.artifact.structure import check_structure
from nip_runtime.file.container import Container, parse_container
from nip_runtime.file.container.wholefile import read_whole
from nip_runtime.file.container.wire import Buffer
from nip_runtime.file.manifest import Manifest, read_manifest
from nip_runtime.file.names import MANIFEST_KEY

_log = logging.getLogger(__name__)

InMemory = bytes | bytearray | memoryview
"""A file's bytes, from a resource, a bucket or a decrypted file."""
IN_MEMORY: Final = Path("<bytes>")
"""What errors call a file that was given as its bytes."""
_PLAIN: Final = "make one with `nip export`, or run this one in onnxruntime directly"


@dataclass(frozen=True)
class Artifact:
    """A defended file that agrees with its manifest; without a path if it was given as its bytes."""

    path: Path
    container: Container
    manifest: Manifest


def read_artifact(path: str | Path, *, limits: Limits = LIMITS) -> Artifact:
    """Read and check the defended file at ``path``.

    Raises:
        ArtifactError: if it is missing, no whole ONNX file, beyond the artefact profile, has no or a bad
            manifest, or differs from it.
    """
    with opened(path, limits=limits) as (artifact, _):
        return artifact


@contextmanager
def opened(
    source: str | Path | InMemory,
    *,
    require_signature: str | Path | None = None,
    signature: str | Path | InMemory | None = None,
    limits: Limits = LIMITS,
) -> Iterator[tuple[Artifact, Buffer]]:
    """A defended file, checked, and its bytes: what was checked is run.

    Args:
        source: the file's path, or its bytes.
        require_signature: PEM file of a public key; the file must carry a signature by its owner, which is
            checked before anything else in it is looked at.
        signature: path or bytes of the bundle that holds it; by default it lies beside the file.
        limits: on sizes and counts.

    Raises:
        ArtifactError: as :func:`read_artifact`; or if the signature is missing or wrong.
        InputError: a signature is required of bytes, and none is given.
        DependencyError: if a signature is required and the extra ``sign`` is missing.
    """
    if isinstance(source, InMemory):
        path, content = IN_MEMORY, _own(source, limits.file_bytes)
    else:
        path = Path(source)
        content = read_whole(path, limits.file_bytes)
    if require_signature is not None:
        from nip_runtime.file.signing import check_signature

        if path is IN_MEMORY and signature is None:
            raise InputError.mismatch(
                expected="the signature of a file that is given as its bytes",
                got="none",
                fix="pass it as signature: the path of the bundle, or its bytes",
            )
        bundle = bytes(signature) if isinstance(signature, InMemory) else signature
        check_signature(content, origin=path, public_key=Path(require_signature), bundle=bundle)
    artifact = check_content(content, path, limits=limits)
    _log.debug("%s agrees with its manifest", path)
    yield artifact, content


def _own(content: InMemory, most_bytes: int) -> bytes:
    """Bytes that nobody else can change: ``bytes`` as they are, a copy of anything else."""
    size = memoryview(content).nbytes
    if size > most_bytes:
        raise ArtifactError.mismatch(
            expected=f"a file of at most {most_bytes} bytes",
            got=f"{size} bytes",
            fix="check which file this is",
        )
    return bytes(content)


def check_content(content: Buffer, path: Path, *, limits: Limits = LIMITS) -> Artifact:
    """The bytes of a defended file, checked. ``path`` names them in errors.

    Raises:
        ArtifactError: as :func:`read_artifact`.
    """
    container = parse_container(content, origin=str(path), limits=limits)
    try:
        return Artifact(path, container, check_container(container, content, limits=limits))
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error


def check_container(container: Container, content: Buffer, *, limits: Limits = LIMITS) -> Manifest:
    """Return the manifest of a defended file, having compared the two.

    Args:
        container: what was read from ``content``.
        content: the whole file.
        limits: on sizes and counts.

    Raises:
        ArtifactError: if there is no manifest, a bad one, or one that differs from the file, or the file is
            beyond the artefact profile.
    """
    text = container.metadata.get(MANIFEST_KEY)
    if text is None:
        raise ArtifactError.mismatch(
            expected="a defended file",
            got=f"a plain ONNX model (no {MANIFEST_KEY!r} in its metadata)",
            fix=_PLAIN,
        )
    manifest = read_manifest(text, limits=limits)
    check_digest(container, manifest)
    check_structure(container)
    check_agreement(container, manifest)
    check_growth(container, content, limits=limits)
    check_defence(container, content, manifest)
    return manifest
