"""Compares the defence's own numbers in a graph with what the manifest says of them.

The second pass's input is followed back: whatever the values are called, what is added to a view of an input
is a stored int8 bank times its step, what comes of it is cut at the input's bounds, and the view is made of
the input by the steps that the manifest names. Of the input, the second pass sees nothing else.
"""

from __future__ import annotations

import math
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact.agreement import AGAIN
from nip_runtime.file.artifact.numbers import beyond, non_finite, read_numbers, to_float32
from nip_runtime.file.artifact.rows import check_rows
from nip_runtime.file.artifact.view import check_view
from nip_runtime.file.container import Container
from nip_runtime.file.container.infos import NodeInfo
from nip_runtime.file.container.reader import printable
from nip_runtime.file.container.wire import Buffer
from nip_runtime.file.manifest import Manifest, Policy
from nip_runtime.file.names import (
    BANK,
    DEFENCE,
    FLAG_THRESHOLD,
    PERTURBED,
    RAW_LOGITS,
    SCREEN_THRESHOLD,
    SECOND_LOGITS,
)

_FLOAT32_CODE: Final = 1
_ROUNDING: Final = 1e-6
"""Relative: ε / 127 is stored in float32."""


def check_defence(container: Container, content: Buffer, manifest: Manifest) -> None:
    """Refuse a file whose perturbations, bounds, thresholds or read-outs are not what its manifest says.

    Args:
        container: within the profile's structure.
        content: the whole file.
        manifest: of it.

    Raises:
        ArtifactError: at the first difference.
    """
    graph = _Constants(container, content)
    _check_finite(graph)
    _check_threshold(graph, FLAG_THRESHOLD, "flag_threshold", manifest.defence.flag_threshold)
    _check_threshold(graph, SCREEN_THRESHOLD, "screen_threshold", manifest.defence.screen_threshold)
    _check_perturbation(graph, manifest)
    _check_second_pass(graph, manifest)
    check_rows(graph.producers, graph.stored, content, manifest)
    _check_policy(graph, manifest)


class _Constants:
    """A graph's nodes by what they compute, and its stored weights by name."""

    def __init__(self, container: Container, content: Buffer) -> None:
        self.content = content
        self.stored = {tensor.name: tensor for tensor in container.initializers}
        self.producers = {name: node for node in container.nodes for name in node.outputs if name}
        self.compared = {
            name for node in container.nodes if node.operator == "LessOrEqual" for name in node.inputs[1:]
        }

    def scalar(self, name: str, what: str) -> float:
        """The only value of a stored float32 constant."""
        tensor = self.stored.get(name)
        if tensor is None or tensor.dtype != "float32" or tensor.elements != 1:
            got = "none" if tensor is None else f"{tensor.dtype} of shape {tensor.shape}"
            raise ArtifactError.mismatch(expected=f"one stored float32 as {what}", got=got, fix=AGAIN)
        value = float(read_numbers(tensor, self.content)[0])
        if not math.isfinite(value):
            raise ArtifactError.mismatch(expected=f"a finite number as {what}", got=str(value), fix=AGAIN)
        return value

    def node(self, name: str, operator: str) -> NodeInfo:
        """The node that computes a value, which must be of this operator."""
        node = self.producers.get(name)
        if node is None or node.operator != operator or not all(node.inputs[:1]):
            raise _no_perturbation(operator, node.operator if node is not None else "none")
        return node

    def behind(self, name: str, operator: str, **attributes: object) -> str:
        """The first input of the node that computes ``name`` if it is of this kind; else ``name``."""
        node = self.producers.get(name)
        if node is None or node.operator != operator or not node.inputs:
            return name
        for key, wanted in attributes.items():
            if node.attributes.get(key) != wanted:
                raise _no_perturbation(f"{operator} with {key} {wanted!r}", repr(node.attributes.get(key)))
        return node.inputs[0]


def _check_policy(graph: _Constants, manifest: Manifest) -> None:
    """What the logits come from tells the policy; the manifest's word for it decides what users are told."""
    node = graph.producers.get(manifest.output.name)
    passed_on = node.inputs[:1] if node is not None and node.operator == "Identity" else None
    policy = Policy.GUARDED
    if passed_on is not None:
        policy = Policy.DETECT if passed_on == (RAW_LOGITS,) else Policy.ALWAYS
    if policy is not manifest.policy:
        raise ArtifactError.mismatch(
            expected=f"a graph of policy {manifest.policy}", got=f"{policy}", fix=AGAIN
        )


def _no_perturbation(expected: str, got: str) -> ArtifactError:
    return ArtifactError.mismatch(
        expected=f"a second pass on inputs moved by a stored bank ({printable(expected)} there)",
        got=printable(got),
        fix=AGAIN,
    )


def _check_finite(graph: _Constants) -> None:
    """NaN or Inf in a read-out, a scale or a curve would silence the gate or raise it always."""
    for name, tensor in graph.stored.items():
        if name.startswith(DEFENCE) and tensor.dtype.startswith("float"):
            wrong = non_finite(tensor, graph.content)
            if wrong:
                raise ArtifactError.mismatch(
                    expected=f"finite numbers in {printable(name)}",
                    got=f"{wrong} of {tensor.elements} NaN or Inf",
                    fix=AGAIN,
                )


def _check_threshold(graph: _Constants, name: str, field: str, stated: float | None) -> None:
    if stated is None:
        if name in graph.stored:
            raise ArtifactError.mismatch(
                expected=f"no {name}, as the manifest has no {field}", got="one in the graph", fix=AGAIN
            )
        return
    value = graph.scalar(name, name)
    if value != to_float32(stated):
        raise ArtifactError.mismatch(
            expected=f"{name} {stated:.9g}, as the manifest's {field}", got=f"{value:.9g}", fix=AGAIN
        )
    if name not in graph.compared:
        raise ArtifactError.mismatch(
            expected=f"a gate that compares with {name}", got="one that does not", fix=AGAIN
        )


def _check_perturbation(graph: _Constants, manifest: Manifest) -> None:
    clip = graph.node(PERTURBED, "Clip")
    if len(clip.inputs) != 3:
        raise _no_perturbation("Clip with two bounds", f"{len(clip.inputs) - 1}")
    for name, what, bound in zip(clip.inputs[1:], ("lowest", "highest"), manifest.input.bounds, strict=True):
        value = graph.scalar(name, f"{what} value of a moved input")
        if value != to_float32(bound):
            raise ArtifactError.mismatch(
                expected=f"moved inputs cut at {bound:.9g}, as the manifest's bounds",
                got=f"{value:.9g}",
                fix=AGAIN,
            )
    if manifest.gate is not None and not manifest.gate.rho:
        _check_no_bank(graph, manifest)
        check_view(clip.inputs[0], graph.producers, graph.stored, graph.content, manifest)
        return
    moved = graph.node(clip.inputs[0], "Add")
    if len(moved.inputs) != 2:
        raise _no_perturbation("Add of a view and a perturbation", ", ".join(moved.inputs))
    check_view(moved.inputs[0], graph.producers, graph.stored, graph.content, manifest)
    grid = graph.behind(graph.behind(moved.inputs[1], "Slice"), "Resize", mode=b"nearest")
    scaled = graph.node(grid, "Mul")
    if len(scaled.inputs) != 2:
        raise _no_perturbation("Mul of steps and their size", f"{len(scaled.inputs)} inputs")
    graph.node(scaled.inputs[0], "Cast")
    steps = graph.behind(scaled.inputs[0], "Cast", to=_FLOAT32_CODE)
    _check_bank(graph, graph.behind(steps, "Gather", axis=0), scaled.inputs[1], manifest)


def _check_no_bank(graph: _Constants, manifest: Manifest) -> None:
    stated = manifest.defence.bank.size_bytes
    if stated or BANK in graph.stored:
        raise ArtifactError.mismatch(
            expected="no bank, as the manifest's view adds no inverse perturbation",
            got=f"{stated} bytes in the manifest" if stated else f"{BANK} in the graph",
            fix=AGAIN,
        )


def _check_second_pass(graph: _Constants, manifest: Manifest) -> None:
    """Of the input, the second pass must see what :func:`_check_perturbation` saw, and nothing else."""
    if (
        manifest.gate is None and SECOND_LOGITS not in graph.producers
    ):  # earlier versions called them otherwise
        return
    seen, waiting = set[str](), [SECOND_LOGITS]
    while waiting:
        name = waiting.pop()
        node = graph.producers.get(name)
        if name not in seen and name != PERTURBED and node is not None:
            waiting += node.inputs
        seen.add(name)
    if PERTURBED not in seen or manifest.input.name in seen:
        raise ArtifactError.mismatch(
            expected=f"a second pass that computes {SECOND_LOGITS} from {PERTURBED} alone",
            got="one that sees the input too" if manifest.input.name in seen else "one that does not",
            fix=AGAIN,
        )


def _check_bank(graph: _Constants, bank: str, step: str, manifest: Manifest) -> None:
    tensor, stated, eps = graph.stored.get(bank), manifest.defence.bank, manifest.defence.eps_pixel
    if tensor is None or tensor.dtype != "int8":
        raise _no_perturbation("stored int8 steps", "none" if tensor is None else tensor.dtype)
    if tensor.shape != (stated.rows, *stated.shape):
        raise ArtifactError.mismatch(
            expected=f"a bank of {stated.rows} rows of {stated.shape}, as in the manifest",
            got=str(tensor.shape),
            fix=AGAIN,
        )
    if stated.size_bytes != tensor.size_bytes:
        raise ArtifactError.mismatch(
            expected=f"a bank of {stated.size_bytes} bytes, as in the manifest",
            got=str(tensor.size_bytes),
            fix=AGAIN,
        )
    size = abs(graph.scalar(step, "the bank's step"))
    most = math.floor(min(128.0, eps * (1 + _ROUNDING) / size)) if size > 0 else 128
    steps = beyond(tensor, graph.content, most)
    if steps:
        raise ArtifactError.mismatch(
            expected=f"a bank within ±{eps:.9g}, the manifest's ε",
            got=f"{steps} steps of {size:.9g}, which reach {steps * size:.9g}",
            fix=AGAIN,
        )
