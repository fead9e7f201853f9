from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

import nip_export.demo
from nip_export.data import to_model_input
from nip_export.demo import build_assets
from nip_export.demo.example import Example, load_example
from nip_export.demo.model import SmallVgg
from nip_runtime.errors import InputError

ASSETS = Path(nip_export.demo.__file__).parent / "assets"


def test_the_assets_are_small_and_carry_their_notice() -> None:
    sizes = {path.name: path.stat().st_size for path in ASSETS.iterdir()}
    assert sizes.keys() == {"weights.safetensors", "surrogate.safetensors", "images.npz", "NOTICE"}
    assert sum(sizes.values()) <= 3_000_000
    notice = (ASSETS / "NOTICE").read_text(encoding="utf-8")
    assert "Zalando SE" in notice
    assert "Permission is hereby granted" in notice
    assert notice == build_assets.NOTICE


def test_the_splits_are_balanced_and_disjoint(example: Example) -> None:
    splits = (example.profile, example.calibration, example.test)
    assert [len(split) for split in splits] == [2000, 1500, 500]
    for split in splits:
        assert len(set(np.bincount(split.labels, minlength=10))) == 1
    seen = [image.tobytes() for split in splits for image in split.images]
    assert len(set(seen)) == len(seen)


def test_the_network_is_as_good_as_it_should_be(example: Example) -> None:
    inputs = (torch.from_numpy(to_model_input(example.test.images, 1)) - example.mean[0]) / example.std[0]
    with torch.no_grad():
        labels = example.model(inputs).argmax(1).numpy()
    assert (labels == example.test.labels).mean() > 0.92
    assert not example.model.training
    assert len(example.class_names) == 10


def test_the_surrogate_is_another_network_and_nearly_as_good(example: Example) -> None:
    inputs = (torch.from_numpy(to_model_input(example.test.images, 1)) - example.mean[0]) / example.std[0]
    with torch.no_grad():
        logits, others = example.model(inputs), example.surrogate(inputs)
    truth = torch.from_numpy(example.test.labels)
    assert logits.shape == others.shape
    assert (others.argmax(1) == truth).float().mean() > 0.9
    # Attacks that transfer must not start from the same mistakes.
    assert (others.argmax(1) != logits.argmax(1)).float().mean() > 0.02
    assert not example.surrogate.training
    assert not isinstance(example.surrogate, SmallVgg)


def test_missing_assets_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("nip_export.demo.example.files", lambda package: tmp_path)
    with pytest.raises(InputError, match="reinstall nip-runtime"):
        load_example()


def write_idx(folder: Path, split: str, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> None:
    header = {"images": bytes(16), "labels": bytes(8)}
    for kind, array in (("images", images), ("labels", labels)):
        suffix = "idx3-ubyte.gz" if kind == "images" else "idx1-ubyte.gz"
        (folder / f"{split}-{kind}-{suffix}").write_bytes(gzip.compress(header[kind] + array.tobytes()))


def test_the_generator_writes_what_the_loader_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run of the committed script on made-up data, so that it cannot rot."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 400), ("t10k", 60)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(tmp_path, split, images, np.arange(count, dtype=np.uint8) % 10)
    monkeypatch.setattr(build_assets, "TRAINING_IMAGES", 128)
    for name, count in (("PROFILE", 5), ("CALIBRATION", 4), ("TEST", 3)):
        monkeypatch.setattr(build_assets, f"{name}_PER_CLASS", count)
    arguments = ["--epochs", "1", "--surrogate-epochs", "1", "--data", str(tmp_path), "--out"]
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        for folder in ("a", "b"):
            (tmp_path / folder / "assets").parent.mkdir()
            assert build_assets.main([*arguments, str(tmp_path / folder / "assets")]) == 0
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
    assert "official test split: accuracy" in capsys.readouterr().out
    for name in ("weights.safetensors", "surrogate.safetensors", "images.npz", "NOTICE"):
        assert (tmp_path / "a/assets" / name).read_bytes() == (tmp_path / "b/assets" / name).read_bytes()
    monkeypatch.setattr("nip_export.demo.example.files", lambda package: tmp_path / "a")
    loaded = load_example()
    assert [len(part) for part in (loaded.profile, loaded.calibration, loaded.test)] == [50, 40, 30]


def test_the_generator_says_how_to_get_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_assets.main(["--data", str(tmp_path)]) == 2
    assert "apt-get install dataset-fashion-mnist" in capsys.readouterr().err
