"""What a page can show of the way to an answer: values inside the graph, and the benign curves beside them.

The file runs as it is. Protobuf merges messages that stand behind each other, so a second session, of the
file's bytes and a few hundred more that only name further outputs, computes the same and shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nip_runtime.file import names
from nip_runtime.file.artifact import Artifact
from nip_runtime.file.artifact.numbers import read_numbers
from nip_runtime.file.container import wire
from nip_runtime.file.container.infos import InitializerInfo
from nip_runtime.file.container.wire import Buffer

_TESTS: Final = {
    "disagreement": ("Disagreement", "early layers believe something else than the network says", 1),
    "typicality": ("Typicality", "how far the features lie from those of benign images", 1),
    "response": ("Response", "how far another class gains under the second view", 2),
    "change": ("Change", "how far the probabilities move under the second view", 2),
}
_GRAPH: Final = 7
_OUTPUT: Final = 12


@dataclass(frozen=True)
class Curve:
    """A function of one number as the graph stores it: base + Σ slope · min(max(x − knot, 0), width)."""

    base: float
    knots: tuple[float, ...]
    slopes: tuple[float, ...]


@dataclass(frozen=True)
class Test:
    """One test of the gate.

    Attributes:
        key: as the manifest names it.
        title: for people.
        meaning: in a few words.
        passes: 1 if it needs the first pass alone, else 2.
        value: graph value (rows, 1) float32 that holds its standardised statistic.
        tail: −log₁₀ of the share of benign images beyond a statistic.
    """

    key: str
    title: str
    meaning: str
    passes: int
    value: str
    tail: Curve


@dataclass(frozen=True)
class Watched:
    """What can be seen of a file besides its outputs.

    Attributes:
        tests: those of the gate that were found, in the order of the graph.
        suspicion: share of benign images with a lower score; None if the graph holds no such curve.
        second_input: graph value that the second pass looks at, and `second_logits` what it says; None where
            the file is too old to name them.
        second_logits: likewise.
        patch: bytes that, behind the file's, make all of them outputs.
    """

    tests: tuple[Test, ...]
    suspicion: Curve | None
    second_input: str | None
    second_logits: str | None
    patch: bytes


def watch(artifact: Artifact, content: Buffer) -> Watched:
    """Find tests and curves in a checked file; `content` is the file's bytes.

    Raises:
        ArtifactError: a curve is stored in another encoding than the exporter's.
    """
    container = artifact.container
    stored = {tensor.name: tensor for tensor in container.initializers}
    computed = {name for node in container.nodes for name in node.outputs}
    statistics = {
        node.inputs[1]: node.inputs[0]
        for node in container.nodes
        if node.operator == "Sub" and len(node.inputs) == 2
    }
    tests = []
    for key, (title, meaning, passes) in _TESTS.items():
        tail = _curve(f"{key}_tail", stored, content)
        value = statistics.get(f"{names.DEFENCE}{key}_tail_knots")
        if tail is not None and value is not None:
            tests.append(Test(key, title, meaning, passes, value, tail))
    second_input, second_logits = (
        name if name in computed else None for name in (names.PERTURBED, names.SECOND_LOGITS)
    )
    wanted = [test.value for test in tests]
    wanted += [name for name in (second_input, second_logits) if name is not None]
    named = (wire.encode_bytes(1, name) for name in dict.fromkeys(wanted))
    return Watched(
        tests=tuple(tests),
        suspicion=_curve("suspicion", stored, content),
        second_input=second_input,
        second_logits=second_logits,
        patch=wire.encode_bytes(_GRAPH, wire.encode_each(_OUTPUT, named)),
    )


def bank_bytes(artifact: Artifact, content: Buffer) -> bytes | None:
    """The stored int8 steps of ρ, rows × shape as the manifest states them; None if the file adds none."""
    for tensor in artifact.container.initializers:
        if tensor.name == names.BANK and tensor.raw is not None:
            start, stop = tensor.raw
            return bytes(content[start:stop])
    return None


def _curve(label: str, stored: dict[str, InitializerInfo], content: Buffer) -> Curve | None:
    parts = [stored.get(f"{names.DEFENCE}{label}_{what}") for what in ("base", "knots", "slopes")]
    base, knots, slopes = (None if part is None else read_numbers(part, content) for part in parts)
    if base is None or knots is None or slopes is None:
        return None
    return Curve(base[0], knots, slopes)
