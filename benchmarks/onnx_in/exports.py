"""Networks of timm through torch's old and new exporters: what its own files look like, opset by opset."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.architectures.networks import build
from nip_export.attach.trace import exporter_silenced


@dataclass(frozen=True)
class Export:
    """One network through one exporter.

    Attributes:
        network: as :mod:`benchmarks.architectures.networks` names it.
        is_new: the exporter by torch.export, not the one by tracing.
        opset: of the file.
        rows: a fixed number, or None.
    """

    network: str
    is_new: bool
    opset: int
    rows: int | None = None

    @property
    def name(self) -> str:
        how = f"{'new' if self.is_new else 'old'} exporter, opset {self.opset}"
        return f"{self.network}, {how}" + (f", batches of {self.rows}" if self.rows else "")

    def content(self) -> bytes:
        """The file; weights are random."""
        model, shape = build(self.network)
        x = torch.rand(self.rows or 2, *shape)
        with tempfile.TemporaryDirectory() as folder, exporter_silenced(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = Path(folder) / "made.onnx"
            if self.is_new:
                free = None if self.rows else ({0: torch.export.Dim("batch")},)
                program = torch.onnx.export(
                    model, (x,), dynamo=True, opset_version=self.opset, dynamic_shapes=free, verbose=False
                )
                assert program is not None
                program.save(made)
            else:
                names = {"input_names": ["x"], "output_names": ["y"]}
                free_rows = None if self.rows else {"x": {0: "batch"}, "y": {0: "batch"}}
                torch.onnx.export(
                    model,
                    (x,),
                    made,
                    dynamo=False,
                    opset_version=self.opset,
                    dynamic_axes=free_rows,
                    **names,  # type: ignore[arg-type]  # as torch documents them
                )
            return made.read_bytes()


EXPORTS = (
    Export("timm/resnet18", False, 9),
    Export("timm/resnet18", False, 13, 1),
    Export("timm/resnet18", True, 18),
    Export("timm/resnet18", True, 23, 1),
    Export("timm/mobilenetv3_small_100", False, 11),
    Export("timm/mobilenetv3_small_100", True, 21),
    Export("timm/vit_tiny_patch16_224", False, 14, 1),
    Export("timm/vit_tiny_patch16_224", False, 17),
    Export("timm/vit_tiny_patch16_224", True, 20),
    Export("timm/convnext_atto", False, 16),
    Export("timm/convnext_atto", True, 22),
    Export("timm/swin_tiny_patch4_window7_224", False, 17),
    Export("timm/poolformer_s12", True, 21),
)
