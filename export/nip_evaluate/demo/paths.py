"""Where the demo writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nip_evaluate.given.paths import EvaluationPaths
from nip_runtime.operate.ui.examples import examples_beside


@dataclass(frozen=True)
class DemoPaths(EvaluationPaths):
    """The files of one demo, all in one folder: those of the evaluation, and these."""

    @property
    def model(self) -> Path:
        """The exported file."""
        return self.folder / "model.nip.onnx"

    @property
    def examples(self) -> Path:
        """A few images, benign and attacked, for `nip ui`."""
        return examples_beside(self.model)

    @property
    def plain(self) -> Path:
        """The undefended backbone, exported the same way."""
        return self.folder / "plain.onnx"

    @property
    def summary(self) -> Path:
        """The numbers in short."""
        return self.folder / "summary.json"
