"""The parts of a defended file: what runs on every row, what on picked rows, and what on their results.

    look      input                       -> raw logits, early evidence, who takes the second pass
    perturb   input, picked rows          -> these rows under their inverse perturbation
    judge     both passes' results        -> the file's outputs

The second pass itself is ``look`` again: the backbone's weights are loaded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nip_runtime.errors import ArtifactError
from nip_runtime.file import names
from nip_runtime.file.manifest import Manifest
from nip_runtime.run.engine.cut import Sliceable


@dataclass(frozen=True)
class Part:
    """A model cut out of a file, with its inputs and outputs in order."""

    content: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """A defended file in parts. ``screened`` tells whether only picked rows take the second pass."""

    look: Part
    perturb: Part
    judge: Part
    screened: bool


def has_screen(model: Sliceable) -> bool:
    """Whether only picked rows of a file take its second pass."""
    return names.ROWS in model.computed


def screen_statistic(model: Sliceable) -> str:
    """Name of the value that a file's screen looks at."""
    return names.SIGHT if names.SIGHT in model.computed else _free_statistic(model)


def _free_statistic(model: Sliceable) -> str:
    """Name of what pass 1 adds to the score of a row."""
    return names.FREE_SCORE if names.FREE_SCORE in model.computed else names.DISAGREEMENT


def can_be_cut(model: Sliceable) -> bool:
    """Whether a file has the values at which it is cut; earlier versions wrote others."""
    return not _lacking(model)


def cut_parts(model: Sliceable, manifest: Manifest) -> Parts:
    """Cut a defended file.

    Raises:
        ArtifactError: if its graph lacks the values at which it is cut: an earlier version wrote it.
    """
    lacking = _lacking(model)
    if lacking:
        raise ArtifactError.mismatch(
            expected=f"a graph that computes {lacking[0]}",
            got="one that does not",
            fix="export the model again with this version, or use engine fused",
        )
    source, outputs = manifest.input.name, (manifest.output.name, *names.ADDED_OUTPUTS[1:])
    screened = has_screen(model)
    seen, second = _seen(model), [names.SECOND_LOGITS, *([names.ROWS] if screened else [])]
    picked = names.ROWS if screened else names.HYPOTHESIS
    return Parts(
        look=_part(model, [source], seen),
        perturb=_part(model, [source, picked], [names.PERTURBED]),
        judge=_part(model, [*seen, *second], outputs),
        screened=screened,
    )


def plain_part(model: Sliceable, manifest: Manifest) -> Part:
    """The backbone alone: one pass, raw logits, nothing of the defence."""
    return _part(model, [manifest.input.name], [names.RAW_LOGITS])


def _part(model: Sliceable, inputs: Sequence[str], outputs: Sequence[str]) -> Part:
    needed = model.needed(inputs, outputs)
    return Part(model.part(needed, outputs), needed, tuple(outputs))


def _seen(model: Sliceable) -> list[str]:
    """What the first pass leaves for the rest."""
    seen = [names.RAW_LOGITS, names.PREDICTED, names.EARLY, _free_statistic(model)]
    if has_screen(model):
        return [*seen, names.SCREENED, names.CALM_SUSPICION, names.CALM_CANDIDATE]
    return [*seen, names.HYPOTHESIS] if names.HYPOTHESIS in model.computed else seen


def _lacking(model: Sliceable) -> list[str]:
    wanted = (*_seen(model), names.PERTURBED, names.SECOND_LOGITS)
    return [name for name in wanted if name not in model.computed]
