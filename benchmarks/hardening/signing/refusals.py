"""Tampered bundles and files, against the library and against sessions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.hardening.signing.tally import Tally
from benchmarks.hardening.tampering import Variant
from nip_runtime import DefendedSession
from nip_runtime.errors import ArtifactError
from nip_runtime.file.signing import bundle_path
from nip_runtime.file.signing.check import verify
from nip_runtime.file.signing.keys import PublicKey


def refused(content: bytes, variants: Iterable[Variant], key: PublicKey) -> Tally:
    """Bundles that are refused with one ArtifactError of one line."""
    tally = Tally()
    for variant in variants:
        try:
            verify(content, variant.bundle, key)
            tally.add(f"taken: {variant.what}", right=False)
        except ArtifactError as error:
            tally.add(f"{variant.what}: {error}", right=str(error).isprintable())
        except Exception as error:
            tally.add(f"{variant.what}: {error!r}", right=False)
    return tally


def sessions_refused(content: bytes, variants: Iterable[Variant], folder: Path) -> Tally:
    """Sessions that do not open, through the file system."""
    model, tally = folder / "session.onnx", Tally()
    model.write_bytes(content)
    for variant in variants:
        bundle_path(model).write_bytes(variant.bundle)
        try:
            DefendedSession(model, device="cpu", threads=1, require_signature=folder / "key.pub").close()
            tally.add(f"opened: {variant.what}", right=False)
        except ArtifactError:
            tally.add(variant.what, right=True)
        except Exception as error:
            tally.add(f"{variant.what}: {error!r}", right=False)
    return tally


def changed_files(content: bytes, step: int) -> Iterator[bytes]:
    """A file with one bit of each ``step``-th byte changed; cut off; prolonged."""
    for position in range(0, len(content), step):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        yield bytes(changed)
    yield from (b"", content[:-1], content[1:], content + b"\0", content + content)


def files_refused(content: bytes, bundle: bytes, key: PublicKey, *, step: int) -> Tally:
    """Changed files under a good bundle that are refused."""
    tally = Tally()
    for index, changed in enumerate(changed_files(content, step)):
        try:
            verify(changed, bundle, key)
            tally.add(f"change {index}", right=False)
        except ArtifactError:
            tally.add(f"change {index}", right=True)
    return tally
