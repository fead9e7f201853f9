"""Writes Triton model repositories: a stock Triton server loads them, with none of this package's code."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nip_runtime.artifact import opened
from nip_runtime.errors import InputError
from nip_runtime.manifest import InputSpec
from nip_runtime.triton.check import ServedModel, check_config, check_model, version_numbers
from nip_runtime.triton.config import CONFIG_FILE, MODEL_FILE, WARMUP_FILE, WARMUP_FOLDER, render
from nip_runtime.triton.settings import ServingSettings, check_name, check_within
from nip_runtime.wire import Buffer
from nip_runtime.writing import replacing

_log = logging.getLogger(__name__)

_SEED: Final = 0
_MAX_VERSION: Final = (1 << 31) - 1
_SUFFIXES: Final = (".onnx", ".nip")


@dataclass(frozen=True)
class Written:
    """A model folder that stands in a repository now.

    ``replaced`` names the files that were there with another content, relative to the folder.
    """

    model: ServedModel
    version: int
    replaced: tuple[str, ...]


def write_repository(
    path: str | Path,
    repository: str | Path,
    *,
    settings: ServingSettings | None = None,
    name: str | None = None,
    version: int = 1,
    force: bool = False,
) -> Written:
    """Copy the defended file at ``path`` into a Triton model repository, and write its configuration.

    A new model folder appears whole or not at all. To one that is there, files are added; those that differ
    are replaced if ``force`` says so, each whole or not at all and the configuration last. Then the folder
    is compared with its graphs.

    Args:
        path: the defended file. It is checked as for running it, and the bytes that were checked are copied.
        repository: the folder that the server is given; made if absent, its other models stay as they are.
        settings: how it shall be served.
        name: of the model; by default that of the file, without ``.nip.onnx``.
        version: number of the version folder. Triton serves the highest unless told otherwise.
        force: replaces files that are there with another content: model, configuration or warm-up row.

    Raises:
        ArtifactError: ``path`` is not a defended file, or the written folder disagrees with its graphs: an
            older version in it has other inputs or outputs.
        InputError: a name or number that can't be, another model is there, or the folder can't be written.
    """
    path, repository = Path(path), Path(repository)
    settings = ServingSettings() if settings is None else settings
    name = check_name(_default_name(path) if name is None else name)
    check_within("version", version, 1, _MAX_VERSION)
    with opened(path) as (artifact, content):
        folder = repository / name
        # In the order in which they are written: the configuration comes last.
        contents: dict[str, Buffer] = {
            f"{version}/{MODEL_FILE}": content,
            f"{WARMUP_FOLDER}/{WARMUP_FILE}": _noise(artifact.manifest.input),
            CONFIG_FILE: render(name, artifact.container, settings).encode(),
        }
        with _reported(folder):
            if folder.exists():
                replaced = _update(folder, contents, version, force)
            else:
                replaced = _create(folder, contents)
    model = check_model(folder)
    _log.info("wrote %s, version %d of %s", folder, version, name)
    return Written(model, version, replaced)


def _noise(spec: InputSpec) -> bytes:
    """One row within the bounds, the same every time, as the server reads it: little-endian float32."""
    values = np.random.default_rng(_SEED).uniform(*spec.bounds, size=spec.shape)
    return values.astype("<f4").tobytes()


def _default_name(path: Path) -> str:
    name = path.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _create(folder: Path, contents: Mapping[str, Buffer]) -> tuple[str, ...]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _place(folder, contents)
    return ()


def _update(folder: Path, contents: Mapping[str, Buffer], version: int, force: bool) -> tuple[str, ...]:
    differing = [name for name, content in contents.items() if not _holds(folder / name, content)]
    replaced = tuple(name for name in differing if (folder / name).exists())
    if replaced and not force:
        raise InputError.mismatch(
            expected=f"nothing else at {folder}",
            got=f"another {' and '.join(replaced)}",
            fix="add a --version with the same settings, choose another --name, or replace with --force",
        )
    others = [number for number in _versions(folder) if number != version]
    check_config(bytes(contents[CONFIG_FILE][:]).decode(), folder, others)
    for name in differing:
        target = folder / name
        if target.parent.exists():
            _write(target, contents[name])
        else:
            _place(target.parent, {target.name: contents[name]})
    return replaced


def _versions(folder: Path) -> tuple[int, ...]:
    has_some = any(path.name.isdigit() for path in folder.iterdir())
    return version_numbers(folder) if has_some else ()


def _place(folder: Path, contents: Mapping[str, Buffer]) -> None:
    """Make a folder and all that is in it at once: a server that looks sees all of it or nothing."""
    with tempfile.TemporaryDirectory(dir=_aside(folder), prefix=f".{folder.name}.", suffix=".part") as part:
        made = Path(part) / folder.name
        for name, content in contents.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            _write(made / name, content)
        made.rename(folder)


def _aside(folder: Path) -> Path:
    """Where a folder can be made and then renamed into its place.

    Not in the repository if it can be helped: a server that polls it takes every folder for a model, hidden
    ones too.
    """
    best = folder.parent
    for parent in folder.absolute().parents[1:3]:
        if parent.stat().st_dev != best.stat().st_dev or not os.access(parent, os.W_OK):
            break
        best = parent
    return best


def _write(target: Path, content: Buffer) -> None:
    with replacing(target) as temporary:
        temporary.write_bytes(content)


def _holds(path: Path, content: Buffer) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content[:]


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError.mismatch(
            expected=f"a folder that can be written at {folder}",
            got=str(error.strerror),
            fix="choose another with --out",
        ) from error
