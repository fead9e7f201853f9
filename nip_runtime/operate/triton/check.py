"""Compares Triton model repositories with the graphs in them, without Triton and without onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.container.wholefile import Wanted, read_whole
from nip_runtime.operate.triton.agreement import Difference, check_general, check_graph, check_warmup
from nip_runtime.operate.triton.config import CONFIG_FILE, MODEL_FILE
from nip_runtime.operate.triton.textformat import TextFormatError, parse

_MAX_CONFIG_BYTES: Final = 1 << 20
_AGAIN: Final = "write it with `nip triton`, or correct it"


@dataclass(frozen=True)
class ServedModel:
    """A model folder whose configuration agrees with its graphs."""

    name: str
    folder: Path
    versions: tuple[int, ...]
    max_batch: int


def check_repository(repository: str | Path) -> tuple[ServedModel, ...]:
    """Check every model of a Triton model repository; each has to be a defended file.

    Raises:
        ArtifactError: naming the first difference between a configuration and its graph, or a file that is
            missing or not what it should be.
    """
    repository = Path(repository)
    folders = _subfolders(repository)
    if not folders:
        raise ArtifactError.mismatch(
            expected=f"model folders in {repository}", got="none", fix="write one with `nip triton`"
        )
    return tuple(check_model(folder) for folder in folders)


def check_model(folder: str | Path) -> ServedModel:
    """Check one model folder: its ``config.pbtxt`` against the graph of every version in it.

    Raises:
        ArtifactError: as :func:`check_repository`.
    """
    folder = Path(folder)
    config = folder / CONFIG_FILE
    with _reported(config):
        versions = version_numbers(folder)
        text = _text(config)
        max_batch = check_config(text, folder, versions)
        check_warmup(parse(text), folder, max_batch)
    return ServedModel(folder.absolute().name, folder, versions, max_batch)


def check_config(text: str, folder: Path, versions: Sequence[int]) -> int:
    """Check a configuration that stands, or shall stand, in ``folder``, against the graphs of these versions.

    Returns:
        How many rows a request may have.

    Raises:
        ArtifactError: as :func:`check_repository`.
    """
    with _reported(folder / CONFIG_FILE):
        model = parse(text)
        max_batch = check_general(model, folder.absolute().name)
        for version in versions:
            check_graph(model, folder / str(version) / MODEL_FILE)
    return max_batch


def version_numbers(folder: Path, *, least: int = 1) -> tuple[int, ...]:
    """Numbers of the version folders, as Triton finds them: other names are none of its business.

    Args:
        folder: of the model.
        least: so many there must be.

    Raises:
        ArtifactError: there are fewer, or one that Triton reads as another number.
    """
    names = [path.name for path in _subfolders(folder) if path.name.isascii() and path.name.isdigit()]
    versions = sorted(int(name) for name in names)
    is_plain = [str(version) for version in versions] == sorted(names, key=int) and 0 not in versions
    if len(versions) < least or not is_plain:
        raise ArtifactError.mismatch(
            expected=f"version folders named 1, 2, … in {folder}",
            got=", ".join(sorted(names)) or "none",
            fix=_AGAIN,
        )
    return tuple(versions)


@contextmanager
def _reported(config: Path) -> Iterator[None]:
    try:
        yield
    except TextFormatError as error:
        raise ArtifactError.mismatch(
            expected=f"a model configuration in {config}", got=f"something else ({error})", fix=_AGAIN
        ) from error
    except Difference as error:
        raise ArtifactError(f"{config}: {error}; {_AGAIN}") from error


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise ArtifactError.mismatch(
            expected=f"a folder at {folder}", got=str(error.strerror), fix="check the path"
        ) from error


def _text(path: Path) -> str:
    content = read_whole(path, _MAX_CONFIG_BYTES, Wanted(what="a model configuration"))
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise TextFormatError(f"not UTF-8 ({error.reason})") from error
