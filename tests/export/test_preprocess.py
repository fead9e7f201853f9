"""Networks trained on the middle of images: resize and crop from the export to the answer."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from nip_export import ExportConfig
from nip_export.data import read_dataset
from nip_export.fit.benign import prepare
from nip_runtime.cli.main import main
from nip_runtime.errors import ExportError, InputError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.manifest import Interpolation, PreprocessSpec
from nip_runtime.inputs.images import crop_image, read_file
from nip_runtime.session import DefendedSession
from tests.export.made import Workshop
from tests.export.networks import example, gray

HOW = PreprocessSpec(resize=28, crop=(28, 28), interpolation=Interpolation.BICUBIC)
Capture = pytest.CaptureFixture[str]


def wide(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 56, 112): twice as large, with noise to the left and right of the middle square."""
    noise = np.random.default_rng(0).integers(0, 256, (len(images), 56, 112), np.uint8)
    noise[:, :, 28:84] = images.repeat(2, axis=1).repeat(2, axis=2)
    return noise


@pytest.fixture(scope="module")
def folder(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, and wide images as .npz and, the first few of every class, as PNGs."""
    folder, data = tmp_path_factory.mktemp("wide"), example().calibration
    save_file(workshop.trained("tiny").state_dict(), folder / "weights.safetensors")
    images = wide(data.images[:500].astype(np.uint8))
    np.savez(folder / "wide.npz", images=images, labels=data.labels[:500])
    for row in range(40):
        where = folder / "png" / str(data.labels[row])
        where.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(where / f"{row:04}.png"), images[row])
    return folder


def export(folder: Path, *more: str) -> list[str]:
    named = ["--model", "tests.goldens.generate:GoldenNet", "--weights", str(folder / "weights.safetensors")]
    return ["export", *named, "--mean", "0.286", "--std", "0.353", "--view", "mirror", *more]


def test_a_file_crops_as_it_was_calibrated(
    folder: Path, tmp_path: Path, capsys: Capture, workshop: Workshop
) -> None:
    out = str(tmp_path / "o.nip.onnx")
    more = ["--preprocess", "resize=28,crop=28,interpolation=bicubic", "--benign-budget", "0.05"]
    assert main(export(folder, "--data", str(folder / "wide.npz"), "--out", out, *more)) == 0
    assert "shorter side resized to 28, bicubic; middle 28x28 taken" in capsys.readouterr().out
    manifest = read_artifact(out).manifest
    assert (manifest.input.preprocess, manifest.input.resize) == (HOW, None)

    with np.load(folder / "wide.npz") as kept:
        images, labels = kept["images"][..., None], kept["labels"]
    cropped = np.stack([crop_image(image, HOW) for image in images])
    with torch.no_grad():
        network = workshop.trained("tiny")
        raw = network((gray(cropped[..., 0]) - 0.286) / 0.353).argmax(1).numpy()
    found = manifest.calibration.accuracy_raw
    low, high = found.interval
    assert low < (raw == labels).mean() < high
    assert (raw == labels).mean() > 0.6

    assert main(["inspect", out]) == 0
    assert "shorter side resized to 28 (bicubic), middle 28x28 taken" in capsys.readouterr().out
    with DefendedSession(out, device="cpu") as session:
        expected = session.predict(cropped[:40])
        files = sorted((folder / "png").rglob("*.png"), key=lambda path: path.name)
        from_files = [session.predict(read_file(path, manifest.input)).labels[0] for path in files]
    assert from_files == expected.labels.tolist()
    np.save(tmp_path / "wide.npy", images[:40])
    assert main(["predict", out, str(tmp_path / "wide.npy"), "--json"]) == 0
    answers = capsys.readouterr().out.splitlines()
    assert [int(line.partition('"label": ')[2].partition(",")[0]) for line in answers] == from_files


def test_folders_archives_and_arrays_are_cropped_alike(folder: Path) -> None:
    from_folder = read_dataset(folder / "png", preprocess=HOW, channels=1)
    archive = read_dataset(folder / "wide.npz", preprocess=HOW)
    with np.load(folder / "wide.npz") as kept:
        images, labels = kept["images"], kept["labels"]
    order = np.argsort(labels[:40], kind="stable")
    np.testing.assert_array_equal(from_folder.images, archive.images[:40][order][..., None])
    given, _ = prepare(images, labels, (iter(images), labels), ExportConfig(preprocess=HOW, force=True))
    np.testing.assert_array_equal(given.inputs[:, 0] * np.float32(255), archive.images.astype(np.float32))


def test_stretching_is_said(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    out, pictures = str(tmp_path / "o.nip.onnx"), folder / "wide.npz"
    more = ["--size", "28x28", "--unlabelled", "--benign-budget", "0.05", "--force"]
    assert main(export(folder, "--data", str(pictures), "--out", out, *more)) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "stretched to 28x28, area, whatever their shape; where the training cropped, name" in printed


def test_floats_of_another_size_are_refused_before_anything_is_computed() -> None:
    images = np.zeros((10, 1, 30, 30), np.float32)
    with pytest.raises(InputError, match="expected images of 28x28 pixels, the crop"):
        prepare(images, [0, 1] * 5, None, ExportConfig(preprocess=HOW))


def test_one_way_to_the_size(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(ExportError, match="preprocess: expected None where resize or sound is given"):
        ExportConfig(preprocess=HOW, resize="area")
    out = str(tmp_path / "o.onnx")
    both = ["--size", "28x28", "--preprocess", "resize=28,crop=28"]
    assert main(export(folder, "--data", "nowhere", "--out", out, *both)) == 2
    assert (
        "expected --size, which stretches, or --preprocess, which crops, got both" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("256", "expected resize=256,crop=224 and perhaps interpolation=bilinear|bicubic|area, got '256'"),
        ("resize=256,crop=224,interpolation=lanczos", "got 'resize=256,crop=224,interpolation=lanczos'"),
        ("resize=256,crop=a", "got 'resize=256,crop=a'"),
        ("resize=200,crop=224", "resize: expected at least 224, the crop, got 200"),
        ("resize=256,crop=192x288", "resize: expected at least 288, the crop, got 256"),
    ],
)
def test_slips_in_the_option(folder: Path, capsys: Capture, text: str, message: str) -> None:
    assert main(export(folder, "--data", "nowhere", "--out", "o.onnx", "--preprocess", text)) == 2
    assert message in capsys.readouterr().err
