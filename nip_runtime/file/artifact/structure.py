"""Enforces the artefact profile on a graph: its operators, its values, its weights.

Source of the rules: :mod:`nip_runtime.file.allowed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.allowed import DTYPES, IR_VERSIONS, LIMITS, OPERATORS, OPSETS, SIZES, Limits
from nip_runtime.file.artifact.agreement import AGAIN
from nip_runtime.file.container import Container
from nip_runtime.file.container.infos import InitializerInfo
from nip_runtime.file.container.reader import printable

_CONTROL_FLOW: Final = ("If", "Loop", "Scan")
_NAMED: Final = 3
_MOST_ELEMENTS: Final = 2**40
"""Far more than a file holds; above it sizes are not worth multiplying."""


def check_structure(container: Container, limits: Limits = LIMITS) -> None:
    """Refuse what a defended file is not made of.

    Raises:
        ArtifactError: naming the first finding.
    """
    found = next(_findings(container, limits), None)
    if found is not None:
        expected, got = found
        raise ArtifactError.mismatch(expected=expected, got=got, fix=AGAIN)


def _findings(container: Container, limits: Limits) -> Iterator[tuple[str, str]]:
    yield from _operators(container)
    yield from _versions(container)
    for tensor in (*container.initializers, *container.attribute_tensors):
        yield from _tensor(tensor)
    if container.foreign:
        yield "only what the artefact profile knows", _listed(container.foreign)
    yield from _values(container)
    yield from _sizes(container, limits)


def _operators(container: Container) -> Iterator[tuple[str, str]]:
    external = [initializer.name for initializer in container.initializers if initializer.external]
    for expected, found in (
        ("standard operators only", [name for name in container.operators if "." in name]),
        ("no control flow", [name for name in _CONTROL_FLOW if name in container.operators]),
        ("all weights inside the file", external),
        ("no model-local functions", [str(container.functions)] if container.functions else []),
        ("operators of the artefact profile", [n for n in container.operators if n not in OPERATORS]),
    ):
        if found:
            yield expected, _listed(found)


def _versions(container: Container) -> Iterator[tuple[str, str]]:
    if not IR_VERSIONS[0] <= container.ir_version <= IR_VERSIONS[1]:
        yield f"ONNX IR version {_range(IR_VERSIONS)}", str(container.ir_version)
    if set(container.opsets) != {""}:
        yield "the standard operator set alone", _listed([name or "standard" for name in container.opsets])
    if not OPSETS[0] <= container.opsets[""] <= OPSETS[1]:
        yield f"opset {_range(OPSETS)}", f"opset {container.opsets['']}"


def _tensor(tensor: InitializerInfo) -> Iterator[tuple[str, str]]:
    name = f"weight {printable(tensor.name)!r}"
    if tensor.external:
        yield "all weights inside the file", name
    if tensor.dtype not in DTYPES:
        yield f"{name} of a plain number type", tensor.dtype
    if any(size < 0 for size in tensor.shape):
        yield f"{name} of sizes from 0", str(tensor.shape)
    if min(tensor.elements, _MOST_ELEMENTS) != tensor.stored:
        stored = "data in two forms" if tensor.stored is None else f"{tensor.stored:g}"
        yield f"{name} with the {tensor.elements:g} values that its shape {tensor.shape} states", stored


def _values(container: Container) -> Iterator[tuple[str, str]]:
    """Every name stands for one value, which is known before it is used."""
    known: set[str] = set()
    given = [value.name for value in container.inputs]
    for name in (*given, *(tensor.name for tensor in container.initializers)):
        if name in known or not name:
            yield "a name of its own for every value", printable(name) or "none"
        known.add(name)
    for node in container.nodes:
        for name in node.inputs:
            if name and name not in known:
                yield f"inputs of {node.operator} that are computed before it", printable(name)
        for name in node.outputs:
            if name in known:
                yield "a name of its own for every value", printable(name)
            if name:
                known.add(name)
    for value in container.outputs:
        if value.name not in known:
            yield "graph outputs that the graph computes", printable(value.name) or "none"


def _sizes(container: Container, limits: Limits) -> Iterator[tuple[str, str]]:
    most = limits.attribute_size
    for node in container.nodes:
        for name in SIZES & node.attributes.keys():
            numbers = node.attributes[name]
            if not isinstance(numbers, tuple) or any(abs(number) > most for number in numbers):
                yield f"{name} of {node.operator} up to {most}", printable(str(numbers))


def _listed(found: list[str] | tuple[str, ...]) -> str:
    return ", ".join(printable(name) for name in found[:_NAMED])


def _range(versions: tuple[int, int]) -> str:
    return str(versions[0]) if versions[0] == versions[1] else f"{versions[0]} to {versions[1]}"
