"""Writes Triton model repositories: a stock Triton server loads them, with none of this package's code."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nip_runtime.errors import InputError
from nip_runtime.file.artifact import opened
from nip_runtime.file.manifest import InputSpec
from nip_runtime.file.signing import bundle_path
from nip_runtime.file.signing.envelope import read_bundle
from nip_runtime.operate.triton.check import ServedModel, check_config, check_model, version_numbers
from nip_runtime.operate.triton.config import CONFIG_FILE, MODEL_FILE, WARMUP_FILE, WARMUP_FOLDER, render
from nip_runtime.operate.triton.placing import Content, Contents, holds, place, put
from nip_runtime.operate.triton.settings import ServingSettings, check_name
from nip_runtime.support.arguments import check_whole

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
    require_signature: str | Path | None = None,
) -> Written:
    """Copy the defended file at ``path`` into a Triton model repository, and write its configuration.

    A new model folder appears whole, and compared with its graph, or not at all. To one that is there, files
    are added; those that differ are replaced if ``force`` says so, each whole or not at all and the
    configuration last. Then the folder is compared with its graphs.

    Args:
        path: the defended file. It is checked as for running it, and the bytes that were checked are copied.
        repository: the folder that the server is given; made if absent, its other models stay as they are.
        settings: how it shall be served.
        name: of the model; by default that of the file, without ``.nip.onnx``.
        version: number of the version folder. Triton serves the highest unless told otherwise.
        force: replaces files that are there with another content: model, its signature, configuration or
            warm-up row.
        require_signature: PEM file of a public key whose owner must have signed the file.

    Raises:
        ArtifactError: ``path`` is not a defended file or lacks the signature, or another version that is
            there has other inputs or outputs.
        InputError: a name or number that can't be, another model is there, or the folder can't be written.
    """
    path, repository = Path(path), Path(repository)
    settings = ServingSettings() if settings is None else settings
    name = check_name(_default_name(path) if name is None else name)
    check_whole("version", version, most=_MAX_VERSION)
    with opened(path, require_signature=require_signature) as (artifact, content):
        folder, model_file = repository / name, f"{version}/{MODEL_FILE}"
        # In the order in which they are written: the configuration comes last.
        contents: Contents = {
            model_file: content,
            bundle_path(Path(model_file)).as_posix(): _signature(path),
            f"{WARMUP_FOLDER}/{WARMUP_FILE}": _noise(artifact.manifest.input),
            CONFIG_FILE: render(name, artifact.container, settings).encode(),
        }
        with _reported(folder):
            if folder.is_dir():
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


def _signature(path: Path) -> bytes | None:
    """The file's bundle. The server does not look at it; `nip verify` does, whatever the file is called."""
    bundle = bundle_path(path)
    return read_bundle(bundle, of=path) if bundle.is_file() else None


def _default_name(path: Path) -> str:
    name = path.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _create(folder: Path, contents: Contents) -> tuple[str, ...]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    place(folder, contents, repository=folder.parent, check=check_model)
    return ()


def _update(folder: Path, contents: Contents, version: int, force: bool) -> tuple[str, ...]:
    differing = [name for name, content in contents.items() if not holds(folder / name, content)]
    replaced = tuple(name for name in differing if (folder / name).exists())
    if replaced and not force:
        raise InputError.mismatch(
            expected=f"nothing else at {folder}",
            got=f"another {' and '.join(replaced)}",
            fix="add a --version with the same settings, choose another --name, or replace with --force",
        )
    others = [number for number in version_numbers(folder, least=0) if number != version]
    check_config(_text(contents[CONFIG_FILE]), folder, others)
    for name in differing:  # in their order: what a configuration names is there before it
        part = (folder / name).parent
        if part.exists():
            put(folder / name, contents[name])
        else:
            mine = {each: contents[each] for each in contents if each.startswith(f"{part.name}/")}
            inner = {each.partition("/")[2]: content for each, content in mine.items()}
            place(part, inner, repository=folder.parent)
    return replaced


def _text(content: Content) -> str:
    return bytes(content[:]).decode() if content is not None else ""


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
