"""Compares Triton model repositories with the graphs in them, without Triton and without onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nip_runtime.artifact import read_artifact
from nip_runtime.errors import ArtifactError
from nip_runtime.triton.config import BACKEND, CONFIG_FILE, MODEL_FILE, WARMUP_FOLDER, Tensor, tensors
from nip_runtime.triton.textformat import Message, TextFormatError, Word, parse
from nip_runtime.wholefile import Wanted, read_whole

_MAX_CONFIG_BYTES: Final = 1 << 20
_ITEM_BYTES: Final = {"TYPE_FP32": 4, "TYPE_BOOL": 1, "TYPE_INT64": 8}
_KNOWN: Final = frozenset(
    {
        "name",
        "backend",
        "platform",
        "version_policy",
        "max_batch_size",
        "input",
        "output",
        "optimization",
        "dynamic_batching",
        "instance_group",
        "default_model_filename",
        "metric_tags",
        "parameters",
        "model_warmup",
        "response_cache",
    }
)
"""Fields of a configuration that leave each request's rows and answers as they are."""
_QUEUE_POLICIES: Final = ("default_queue_policy", "priority_queue_policy")
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
        _check_warmup(parse(text), folder, max_batch)
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
        max_batch = _check_general(model, folder.absolute().name)
        for version in versions:
            _check_graph(model, folder / str(version) / MODEL_FILE)
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
    except _Difference as error:
        raise ArtifactError(f"{config}: {error}; {_AGAIN}") from error


class _Difference(Exception):
    def __init__(self, expected: str, got: object) -> None:
        super().__init__(f"expected {expected}, got {got}")


def _require(found: object, wanted: object, what: str) -> None:
    if found != wanted or type(found) is not type(wanted):
        raise _Difference(f"{what} {_shown(wanted)}", "none" if found is None else _shown(found))


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) and not isinstance(value, Word) else str(value)


def _check_general(model: Message, name: str) -> int:
    strange = sorted(model.names() - _KNOWN)
    if strange:
        raise _Difference("only fields that leave requests as they are", ", ".join(strange))
    _require(model.one("name"), name, "the folder's name, name:")
    _require(model.one("backend"), BACKEND, "backend:")
    for field, wanted in (("platform", "onnxruntime_onnx"), ("default_model_filename", MODEL_FILE)):
        if field in model.names():
            _require(model.one(field), wanted, f"{field}:")
    max_batch = model.one("max_batch_size")
    if not isinstance(max_batch, int) or max_batch < 1:
        raise _Difference("max_batch_size: of at least 1", max_batch)
    batching = model.message("dynamic_batching")
    for field in _QUEUE_POLICIES:
        if batching is not None and field in batching.names():
            raise _Difference(f"no {field}, with which Triton stalls", "one")
    cache = model.message("response_cache")
    if cache is not None and cache.one("enable") not in (None, Word("false"), Word("False"), Word("f"), 0):
        # Its key is a 64-bit hash without a secret: an attacker's image could stand in for another's.
        raise _Difference("no response cache, whose keys can be made to collide", "one")
    return max_batch


def _check_graph(model: Message, path: Path) -> None:
    container = read_artifact(path).container
    for field, values in (("input", container.inputs), ("output", container.outputs)):
        stated = [_stated(io, field) for io in model.messages(field)]
        wanted = tensors(values)
        for tensor in wanted:
            same = [other for other in stated if other.name == tensor.name]
            if same != [tensor]:
                raise _Difference(
                    f"{field} {tensor}, as in the graph of {path.parent.name}/{path.name}",
                    " and ".join(map(str, same)) or "none of this name",
                )
        extra = {tensor.name for tensor in stated} - {tensor.name for tensor in wanted}
        if extra:
            raise _Difference(f"{field}s of the graph only", ", ".join(sorted(extra)))


def _stated(io: Message, field: str) -> Tensor:
    allowed = {"name", "data_type", "dims", "reshape"} | ({"label_filename"} if field == "output" else set())
    strange = sorted(io.names() - allowed)
    if strange:
        raise _Difference(f"{field}s with {', '.join(sorted(allowed))} only", ", ".join(strange))
    reshape = io.message("reshape")
    shape = None if reshape is None else _integers(reshape.all("shape"), "shape")
    data_type = io.one("data_type")
    if not isinstance(data_type, Word):
        raise _Difference(f"a data_type: without quotes in each {field}", data_type)
    return Tensor(str(io.one("name")), data_type, _integers(io.all("dims"), "dims"), shape)


def _integers(values: Sequence[object], field: str) -> tuple[int, ...]:
    whole = tuple(value for value in values if isinstance(value, int))
    if len(whole) != len(values):
        raise _Difference(f"whole numbers in {field}", list(values))
    return whole


def _check_warmup(model: Message, folder: Path, max_batch: int) -> None:
    inputs = {tensor.name: tensor for tensor in (_stated(io, "input") for io in model.messages("input"))}
    for warmup in model.messages("model_warmup"):
        rows = warmup.one("batch_size")
        if not isinstance(rows, int) or not 0 <= rows <= max_batch:
            raise _Difference(f"a warm-up batch_size from 0 to {max_batch}", rows)
        entries = warmup.messages("inputs")
        names = [str(entry.one("key")) for entry in entries]
        if sorted(names) != sorted(inputs):
            raise _Difference(f"warm-up inputs {', '.join(inputs)}", ", ".join(names) or "none")
        for entry in entries:
            _check_warmup_input(entry, inputs[str(entry.one("key"))], folder)


def _check_warmup_input(entry: Message, tensor: Tensor, folder: Path) -> None:
    value = entry.message("value") or Message(())
    dims = _integers(value.all("dims"), "dims")
    found = f"{value.one('data_type')} {list(dims)}"
    if (value.one("data_type"), dims) != (tensor.data_type, tensor.dims):
        raise _Difference(f"warm-up data {tensor.data_type} {list(tensor.dims)} for {tensor.name}", found)
    name = value.one("input_data_file")
    if name is not None:
        path = folder / WARMUP_FOLDER / str(name)
        wanted = math.prod(dims) * _ITEM_BYTES[tensor.data_type]
        size: object
        try:
            size = path.stat().st_size if path.is_file() else "no file"
        except OSError as error:  # a name that no file can have
            size = error.strerror
        if size != wanted:
            raise _Difference(f"{wanted} bytes in {WARMUP_FOLDER}/{name}", size)


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
