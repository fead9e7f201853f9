"""The files of the matrix: every golden one, every network of the tests under every policy, every precision.

Networks are trained and exported here in some minutes, by the tests' own generators; what lies in the folder
is used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.case import Case, make_case
from nip_export import ExportConfig, export_defended
from nip_export.fit.benign import at_the_door
from nip_runtime.file.manifest import Policy
from tests.export.made import Workshop
from tests.export.networks import NETS, TINY, net
from tests.export.stored import stored_pictures, trained
from tests.precision.made import TEST_SET, make

ROOT: Final = Path(__file__).resolve().parents[2]
GOLDENS: Final = ROOT / "tests" / "goldens"
PRECISIONS: Final = ("fp16", "int8")
UNSCREENED: Final = ("mirror+median", "blur")
"""Views of the files without a screen."""
ROWS: Final = 48
"""Inputs per file: half of them benign, half attacked or shaken."""


def goldens() -> Iterator[Case]:
    """The committed golden files: every policy and view step, and those of manifest 1.2."""
    for path in sorted(GOLDENS.glob("*.onnx")):
        with np.load(path.with_suffix(".npz")) as golden:
            inputs = golden["images"].astype(np.float32)[:, None] / np.float32(255)
        yield make_case(f"golden {path.stem}", path, inputs)


def with_shaken(benign: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inputs (N, *shape) in [0, 1], then the same under noise, more of it from row to row: (2 N, *shape)."""
    noise = np.random.default_rng(0).random(benign.shape, np.float32) - np.float32(0.5)
    sizes = np.linspace(0.2, 1, len(benign), dtype=np.float32).reshape(-1, *[1] * (benign.ndim - 1))
    return np.concatenate([benign, np.clip(benign + sizes * noise, 0, 1)])


def networks(folder: Path) -> Iterator[Case]:
    """Every network of the tests under every policy, and with a padding row, for engines that need one."""
    folder.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(folder)
    for case in NETS:
        inputs = workshop.export(case.name).inputs
        for policy in Policy:
            made = workshop.export(case.name, policy.value)
            yield make_case(f"{case.name} {policy}", made.path, inputs)
    for case in NETS:
        yield padded(workshop, case.name, folder / f"{case.name}-padded.onnx")


def padded(workshop: Workshop, name: str, path: Path) -> Case:
    """A network's file with a padding row: some row takes the second pass in every batch."""
    network = net(name)
    if not path.exists():
        (images, labels), calibration = network.benign()
        config = network.config(padding_row="always")
        export_defended(workshop.trained(name), images, labels, path, calibration=calibration, config=config)
    return make_case(f"{name}, padding row", path, workshop.export(name).inputs)


def unscreened(folder: Path, view: str) -> Case:
    """A file without a screen and with a named view: all rows take both passes, no shape depends on data."""
    path = folder / f"unscreened-{view}.onnx"
    inputs = TINY.inputs_of("test", ROWS // 2)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (images, labels), calibration = TINY.benign()
        config = TINY.config(screen_rate=1.0, view=view)
        export_defended(TINY.train(), images, labels, path, calibration=calibration, config=config)
    return make_case(f"no screen, {view}", path, with_shaken(inputs))


def stored(folder: Path, *, screened: bool) -> Case:
    """Colour pictures that were stored as JPEG: grain in the screen, JPEG at the beginning of the view."""
    path = folder / f"stored-{'screened' if screened else 'all'}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        images, labels = stored_pictures()
        config = ExportConfig(benign_budget=0.05, ascent_steps=2, screen_rate=0.4 if screened else 1.0)
        export_defended(trained(images, labels), images, labels, path, config=config)
    fresh, _ = stored_pictures(1)
    inputs = np.ascontiguousarray(fresh[: ROWS // 2].transpose(0, 3, 1, 2)).astype(np.float32)
    name = "photographs, grain and JPEG" if screened else "no screen, photographs, JPEG"
    return make_case(name, path, with_shaken(inputs / np.float32(255)))


def precisions(folder: Path) -> Iterator[Case]:
    """The embedded example in fp16 and int8 under every policy."""
    inputs = with_shaken(at_the_door(TEST_SET).inputs[: ROWS // 2])
    for precision in PRECISIONS:
        for policy in Policy:
            own = folder / f"{precision}-{policy}"
            path = own / f"{precision}.nip.onnx"
            if not path.exists():
                own.mkdir(parents=True, exist_ok=True)
                make(precision, own, few=True, policy=policy.value)
            yield make_case(f"{precision} {policy}", path, inputs)


def everything(folder: Path) -> Iterator[Case]:
    """All of these."""
    yield from goldens()
    for view in UNSCREENED:
        yield unscreened(folder, view)
    for screened in (True, False):
        yield stored(folder, screened=screened)
    yield from networks(folder)
    yield from precisions(folder)
