"""Finished attacks on disk: a run that was stopped goes on where it was, and no attack is made twice."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import numpy as np

from nip_evaluate.terms.threats import AttackCase, Attacked, Images, Labels
from nip_runtime.support.writing import write_whole

_log = logging.getLogger(__name__)

LIBRARIES = ("torch", "foolbox", "adversarial-robustness-toolbox", "nip-runtime")
DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)
"""What numpy raises on an archive that was cut, emptied or altered."""


def digest_of(*arrays: Images | Labels) -> str:
    """SHA-256 of arrays with their shapes and types, in hex."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.name}{array.shape};".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


class AttackStore:
    """Attacked images by everything that decides them: attack, settings, victim, images, seed, libraries.

    Args:
        folder: where the files are; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, case: AttackCase, *, victim: str, images: str, seed: int) -> Path:
        """Where an attack lies; `victim` and `images` are digests."""
        said = [f"{f.name}={getattr(case, f.name)!r}" for f in fields(case) if f.name != "craft"]
        said += [victim, images, str(seed), *(f"{name} {version(name)}" for name in LIBRARIES)]
        key = hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
        slug = re.sub(r"[^a-z0-9]+", "-", case.name.lower()).strip("-")
        return self.folder / f"{case.threat.value}-{slug}-{key}.npz"

    def recall(
        self,
        case: AttackCase,
        make: Callable[[], Attacked],
        *,
        victim: str,
        images: str,
        seed: int,
    ) -> Attacked:
        """The stored attack, or a new one, which is then kept. A damaged file is made again."""
        path = self.path(case, victim=victim, images=images, seed=seed)
        if path.exists():
            try:
                return self._read(path, case)
            except DAMAGED:
                _log.warning("%s is damaged; running %s again", path, case.name)
        attacked = make()
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            images=attacked.images,
            seconds=np.float64(attacked.seconds),
            queries=np.float64(np.nan if attacked.queries is None else attacked.queries),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getvalue())
        return attacked

    def _read(self, path: Path, case: AttackCase) -> Attacked:
        # Through memory: numpy leaves a file open that turns out to be no archive.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            queries = float(found["queries"])
            return Attacked(
                case=case,
                images=found["images"],
                seconds=float(found["seconds"]),
                queries=None if np.isnan(queries) else queries,
            )
