"""The file under evaluation, and the torch network it was made from, brought together and compared."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nip_evaluate.given.file_gate import FileGate
from nip_evaluate.terms.answers import GateView, twin_view
from nip_evaluate.terms.threats import Images
from nip_export.attach.recover import recover_spec
from nip_export.attach.writing import weights_digest
from nip_export.defence.spec import DefenceSpec
from nip_export.network import TapPlan, as_classifier, find_taps
from nip_export.network.run import tapped_network
from nip_export.network.tapped import TappedNetwork
from nip_export.verify import DefendedTwin
from nip_runtime.errors import InputError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.manifest import Manifest, Precision
from nip_runtime.file.names import RAW_LOGITS
from nip_runtime.run.engine.cut import Sliceable


class Undefended(nn.Module):
    """A network with its normalisation in front: inputs within the bounds (N, *shape) to logits (N, C)."""

    def __init__(self, network: TappedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C)."""
        logits: Tensor = self.network(inputs)[0]
        return logits


@dataclass(frozen=True, eq=False)
class Target:
    """What is attacked.

    Attributes:
        path: the defended file.
        manifest: what it says about itself.
        model: a frozen copy of the network it was made from, in evaluation mode.
        plan: the tapped layers, influence layer included.
        undefended: the network as T1 attacks it.
        twin: the defence that the *file* carries, in torch, as T4 attacks it.
        spec: the same as numbers.

    A file in another precision than fp32 is attacked through `undefended` and `twin` as an approximation,
    for neither has useful gradients otherwise; everything is scored on the file itself.
    """

    path: Path
    manifest: Manifest
    model: nn.Module
    plan: TapPlan
    undefended: Undefended
    twin: DefendedTwin
    spec: DefenceSpec

    def classes(self) -> tuple[str, ...]:
        """Class names, or numbers where the file has none."""
        output = self.manifest.output
        return output.class_names or tuple(str(number) for number in range(output.classes))

    @property
    def exact(self) -> bool:
        """Whether the torch twin computes what the file does, but for rounding."""
        return self.manifest.precision is Precision.FP32

    @cached_property
    def _file_gate(self) -> FileGate:
        return FileGate(self.path, self.spec, self.manifest.input.name)

    def gate_view(self, images: Images) -> GateView:
        """What the file would answer to images (N, *shape) at every threshold of its gate."""
        return twin_view(self.twin, images) if self.exact else self._file_gate(images)

    @contextmanager
    def plain_file(self) -> Iterator[Path]:
        """The undefended network as an ONNX file, cut out of the defended one; gone after the block."""
        with tempfile.TemporaryDirectory(prefix="nip-evaluate-") as folder:
            path = Path(folder) / "plain.onnx"
            plain = Sliceable(self.path.read_bytes()).part([self.manifest.input.name], [RAW_LOGITS])
            path.write_bytes(plain)
            yield path


def open_target(
    path: str | Path, model: nn.Module, images: Images, *, output: str | int | None = None
) -> Target:
    """Check that file and network belong together, and rebuild the file's defence in torch.

    Args:
        path: a defended file.
        model: the network it was made from, on the CPU.
        images: (N, *shape) float32 within the bounds, N ≥ 2, to watch a forward pass with.
        output: as for the export: which of several outputs holds the logits.

    Raises:
        ArtifactError: no defended file.
        InputError: other weights than the file's, or images of another shape.
        ExportError: the model cannot be tapped as the file says.
    """
    manifest = read_artifact(path).manifest
    if images.shape[1:] != manifest.input.shape or len(images) < 2:
        raise InputError.mismatch(
            expected=f"at least 2 images of shape {manifest.input.shape}",
            got=f"{len(images)} of {images.shape[1:]}",
            fix="prepare the images as for nip export",
        )
    example = torch.from_numpy(np.ascontiguousarray(images[:2]))
    mean, std = manifest.input.mean, manifest.input.std
    frozen = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    probe = tapped_network(frozen, example, [], mean=mean, std=std)
    frozen = as_classifier(frozen, probe.normalise(example), output=output).model
    digest = weights_digest(frozen)
    if digest != manifest.digests.weights:
        raise InputError.mismatch(
            expected=f"the network that {path} was made from (weights {manifest.digests.weights[:19]}…)",
            got=f"weights {digest[:19]}…",
            fix="pass the same --model and --weights as to nip export",
        )
    probe = tapped_network(frozen, example, [], mean=mean, std=std).eval()
    # The influence layer is named too: the features whose typicality the gate asks for.
    taps = (tap.name for tap in manifest.defence.taps)
    names = list(dict.fromkeys([*taps, manifest.defence.influence_layer]))
    plan = find_taps(frozen, probe.normalise(example), taps=names, features=manifest.defence.influence_layer)
    spec = recover_spec(path, {tap.name: tap.kind for tap in plan.layers})
    network = tapped_network(frozen, example, names, mean=mean, std=std).eval()
    return Target(
        path=Path(path),
        manifest=manifest,
        model=frozen,
        plan=plan,
        undefended=Undefended(probe).eval(),
        twin=DefendedTwin(network, spec).eval().requires_grad_(False),
        spec=spec,
    )
