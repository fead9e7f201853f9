"""The embedded example as a defended file: the network that checks use where its size does not matter."""

from __future__ import annotations

from pathlib import Path

from nip_export import ExportConfig, export_defended
from nip_export.demo.example import Example, load_example


def export_example(path: Path, example: Example | None = None) -> Path:
    """Export the example as the demo does; returns ``path``."""
    example = load_example() if example is None else example
    export_defended(
        example.model,
        example.profile.images,
        example.profile.labels,
        path,
        calibration=(example.calibration.images, example.calibration.labels),
        config=ExportConfig(mean=example.mean, std=example.std, class_names=example.class_names, seed=0),
    )
    return path
