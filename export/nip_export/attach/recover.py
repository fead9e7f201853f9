"""The way back: the defence's numbers out of a finished file, for those who attack or examine it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from nip_export.attach.editor import UNLIMITED
from nip_export.defence.spec import Bank, ClassScale, Curve, DefenceSpec, Gate, ReadOut, Typicality
from nip_export.network import TapKind
from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact import Artifact, read_artifact
from nip_runtime.file.manifest import TapInfo

PREFIX = "nip/"


def recover_spec(path: str | Path, kinds: Mapping[str, TapKind]) -> DefenceSpec:
    """Read the defence that a file carries.

    Args:
        path: a defended file.
        kinds: how the activation of every tapped layer is to be read, by name of the layer; the file's graph
            has it spelled out in operators, not as a word.

    Returns:
        The numbers that :func:`nip_export.attach.assemble.attach_defence` was given, as the graph holds them:
        in float32.

    Raises:
        ArtifactError: no defended file, or one whose constants have other names than this version writes.
    """
    artifact = read_artifact(path)
    model = onnx.load(str(path))
    found = {
        tensor.name.removeprefix(PREFIX): onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name.startswith(PREFIX)
    }
    try:
        return _spec(artifact, found, kinds)
    except KeyError as error:
        raise ArtifactError.mismatch(
            expected=f"a constant named {PREFIX}{error.args[0]} in {path}",
            got="none",
            fix="export the model again with this version",
        ) from error


def _spec(
    artifact: Artifact, found: Mapping[str, NDArray[np.generic]], kinds: Mapping[str, TapKind]
) -> DefenceSpec:
    manifest, described = artifact.manifest, artifact.manifest.gate
    if described is None:
        raise ArtifactError.mismatch(
            expected="a file of manifest 1.3 or newer, whose gate this version knows",
            got=f"manifest {manifest.schema_version}",
            fix="export the model again with this version; sessions still run the file",
        )
    gate = Gate(
        disagreement_scale=_scale(found, "disagreement"),
        disagreement_tail=_curve(found, "disagreement_tail"),
        typicality_scale=_scale(found, "typicality"),
        typicality_tail=_curve(found, "typicality_tail"),
        response_scale=_scale(found, "response"),
        response_tail=_curve(found, "response_tail"),
        change_scale=_scale(found, "change"),
        change_tail=_curve(found, "change_tail"),
        early_weight=_number(found, "early_weight") if "early_weight" in found else described.early_weight,
        screen_threshold=_number(found, "screen_threshold") if "screen_threshold" in found else None,
        flag_threshold=_number(found, "flag_threshold"),
        suspicion=_curve(found, "suspicion"),
        grain_tail=_curve(found, "grain_tail") if "grain_tail_knots" in found else None,
    )
    # Where the network's own doubt stands in, the features are the only layer that is named.
    readouts = tuple(
        _readout(tap, kinds[tap.name], found)
        for tap in manifest.defence.taps
        if tap.name != described.typicality_layer or f"readout/{tap.name}/bias" in found
    )
    typicality = Typicality(
        tap=described.typicality_layer,
        kind=kinds[described.typicality_layer],
        weight=found["typicality_weight"].astype(np.float32),
        bias=found["typicality_bias"].astype(np.float32),
        centres=np.ascontiguousarray(found["typicality_centres"].astype(np.float32).T / np.float32(-2)),
    )
    return DefenceSpec(
        policy=manifest.policy,
        classes=manifest.output.classes,
        bounds=manifest.input.bounds,
        readouts=readouts,
        typicality=typicality,
        gate=gate,
        view=described.view,
        bank=_bank(artifact, found),
    )


def _bank(artifact: Artifact, found: Mapping[str, NDArray[np.generic]]) -> Bank:
    stated, shape = artifact.manifest.defence.bank, artifact.manifest.input.shape
    if "bank" not in found:  # nothing is added, and nothing stored
        factor = -(-shape[-1] // stated.shape[-1])
        return Bank(np.zeros((stated.rows, *stated.shape), np.int8), 1.0, factor, shape)
    return Bank(
        steps=found["bank"].astype(np.int8),
        step_size=_number(found, "bank_step_size"),
        factor=int(found["bank_scales"].astype(np.float32)[-1]) if "bank_scales" in found else 1,
        shape=shape,
    )


def _readout(tap: TapInfo, kind: TapKind, found: Mapping[str, NDArray[np.generic]]) -> ReadOut:
    scope = f"readout/{tap.name}"
    step_size = None
    if f"{scope}/steps" in found:
        step_size = found[f"{scope}/step_size"].astype(np.float32)
        weight = found[f"{scope}/steps"].astype(np.float32) * step_size
    else:
        weight = found[f"{scope}/weight"].astype(np.float32)
    return ReadOut(
        tap=tap.name,
        kind=kind,
        cells=_cells_per_axis(tap.cells, kind),
        weight=weight,
        bias=found[f"{scope}/bias"].astype(np.float32),
        step_size=step_size,
    )


def _number(found: Mapping[str, NDArray[np.generic]], name: str) -> float:
    return float(found[name].astype(np.float64).reshape(-1)[0])


def _scale(found: Mapping[str, NDArray[np.generic]], label: str) -> ClassScale:
    mean, inverse_std = (found[f"{label}_{what}"].astype(np.float32) for what in ("mean", "inverse_std"))
    if mean.ndim == 1:  # one statistic per class
        mean, inverse_std = mean[:, None], inverse_std[:, None]
    return ClassScale(mean, inverse_std)


def _curve(found: Mapping[str, NDArray[np.generic]], label: str) -> Curve:
    widths = found[f"{label}_widths"].astype(np.float32)
    return Curve(
        base=_number(found, f"{label}_base"),
        knots=found[f"{label}_knots"].astype(np.float32),
        # Written as the largest float32, for the graph's Min needs a number.
        widths=np.where(widths >= np.float32(UNLIMITED), np.float32(np.inf), widths),
        slopes=found[f"{label}_slopes"].astype(np.float32).reshape(-1),
    )


def _cells_per_axis(cells: int, kind: TapKind) -> int:
    return round(cells**0.5) if kind in (TapKind.MAP2D, TapKind.MAP2D_LAST) else cells
