from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from nip_evaluate.terms.threats import Images, Labels
from nip_export import ExportConfig, export_defended
from nip_export.data import to_model_input
from nip_export.demo.example import load_example
from nip_runtime.session import DefendedSession

COUNT = 12


@dataclass(frozen=True)
class Deployed:
    """A defended file and test images, the first of which it gets wrong."""

    session: DefendedSession
    images: Images
    labels: Labels

    def wrong(self, images: Images) -> np.typing.NDArray[np.bool_]:
        missed: np.typing.NDArray[np.bool_] = (
            self.session.predict(images).labels != self.labels[: len(images)]
        )
        return missed


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    example = load_example()
    profile, calibration = example.profile.take(np.arange(400)), example.calibration.take(np.arange(300))
    path = tmp_path_factory.mktemp("query") / "small.onnx"
    export_defended(
        example.model,
        profile.images,
        profile.labels,
        path,
        calibration=(calibration.images, calibration.labels),
        config=ExportConfig(
            mean=example.mean, std=example.std, class_names=example.class_names, ascent_steps=4, seed=1
        ),
    )
    images, labels = to_model_input(example.test.images, 1), example.test.labels
    with DefendedSession(path, device="cpu", threads=1) as session:
        wrong = session.predict(images).labels != labels
        rows = np.concatenate([wrong.nonzero()[0][:1], (~wrong).nonzero()[0][: COUNT - 1]])
        yield Deployed(session, images[rows], labels[rows])
