"""The robustness benchmark's splits, networks and plans; nothing is trained."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from benchmarks.robustness import networks, run
from benchmarks.robustness.cifar_splits import load_cifar_splits
from benchmarks.robustness.front import weakest
from benchmarks.robustness.networks import FACTORIES, Kind, kind_of
from benchmarks.robustness.results import read_networks
from benchmarks.robustness.splits import Splits, load_splits
from benchmarks.robustness.train import EPOCHS, accuracy, cropped, weights_path
from nip_evaluate.attacks import CORE, NATURAL
from nip_evaluate.report.numbers import load
from nip_evaluate.stages.attackers import planned_cases
from nip_evaluate.terms.threats import Threat
from nip_export import ExportConfig, export_defended
from nip_export.demo.build_assets import DATA_DIR, Labelled
from nip_export.demo.example import load_example
from nip_export.demo.model import MEAN, STD
from nip_runtime.session import DefendedSession
from tests.evaluate.page.synthetic import full as synthetic

PARTS = ("training", "profile", "calibration", "test", "further")


@pytest.fixture(scope="module")
def splits() -> Splits:
    if not (DATA_DIR / "t10k-images-idx3-ubyte.gz").exists():
        pytest.skip(f"Fashion-MNIST is not in {DATA_DIR} (Debian: dataset-fashion-mnist)")
    return load_splits()


def contents(images: np.typing.NDArray[np.uint8]) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_no_image_is_in_two_splits_or_in_the_demo_s_table(splits: Splits) -> None:
    sets = {name: contents(getattr(splits, name).images) for name in PARTS}
    for first, second in itertools.combinations(PARTS, 2):
        assert not sets[first] & sets[second], (first, second)
    shown = contents(load_example().test.images.astype(np.uint8))
    assert len(shown) == 500
    for name in PARTS:
        assert not sets[name] & shown, name


def test_sizes_and_classes_are_as_documented(splits: Splits) -> None:
    counts = {name: len(getattr(splits, name).labels) for name in PARTS}
    assert counts == {
        "training": 55_000,
        "profile": 2000,
        "calibration": 3000,
        "test": 1000,
        "further": 3000,
    }
    assert counts["test"] >= run.ATTACKED
    for name in ("profile", "test", "further"):
        labels = np.bincount(getattr(splits, name).labels, minlength=10)
        assert set(labels) == {counts[name] // 10}, name
    assert splits.test.images.shape[1:] == (28, 28)
    assert splits.test.images.dtype == np.uint8


def test_splits_are_the_same_every_time(splits: Splits) -> None:
    again = load_splits()
    for name in PARTS:
        assert np.array_equal(getattr(splits, name).images, getattr(again, name).images)


@pytest.mark.parametrize("kind", list(Kind))
def test_networks_map_images_to_ten_logits(kind: Kind) -> None:
    model = FACTORIES[kind]().eval()
    shape = (3, 3, 32, 32) if kind.is_cifar else (3, 1, 28, 28)
    with torch.no_grad():
        logits = model(torch.rand(shape))
    assert logits.shape == (3, networks.CLASSES)
    assert logits.isfinite().all()
    assert kind in run.SURROGATES
    assert (kind in EPOCHS) != (kind in (Kind.CIFAR_RESNET20, Kind.CIFAR_RESNET56))


def test_the_transformer_has_as_many_parameters_as_it_says() -> None:
    stated = re.search(r"\((\d+) thousand parameters\)", networks.SmallViT.__doc__ or "")
    assert stated is not None
    count = sum(parameter.numel() for parameter in networks.SmallViT().parameters())
    assert round(count / 1000) == int(stated[1])


@pytest.mark.parametrize("kind", list(Kind))
def test_surrogates_are_of_another_kind(kind: Kind) -> None:
    other = kind_of(run.SURROGATES[kind])
    assert other is not kind and other.is_cifar is kind.is_cifar


def fitted(kind: Kind) -> nn.Module:
    """The untrained network with its last layer fitted to the example's profile images by least squares."""
    example = load_example()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = FACTORIES[kind]().eval()
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, values: seen.append(values[0]))
    pixels = torch.from_numpy(example.profile.images[:600].astype(np.float32) / 255)[:, None]
    with torch.no_grad():
        model((pixels - MEAN[0]) / STD[0])
        hook.remove()
        features = seen[0].double()
        centre, scale = features.mean(0), features.std(0) + 1e-6
        inputs = (features - centre) / scale
        wanted = nn.functional.one_hot(torch.from_numpy(example.profile.labels[:600]), 10).double() - 0.1
        gram = inputs.T @ inputs + 5 * torch.eye(inputs.shape[1], dtype=torch.float64)
        weight = 8 * torch.linalg.solve(gram, inputs.T @ wanted).T / scale
        head.weight.copy_(weight)
        head.bias.copy_(-weight @ centre)
    return model


@pytest.mark.parametrize("kind", [Kind.VIT])
def test_the_kind_that_nothing_was_tuned_on_can_be_exported(kind: Kind, tmp_path: Path) -> None:
    example, model = load_example(), fitted(kind)
    rows = np.arange(300)
    profile, calibration = example.calibration.take(rows), example.calibration.take(rows + 300)
    report = export_defended(
        model,
        profile.images,
        profile.labels,
        tmp_path / "small.onnx",
        calibration=(calibration.images, calibration.labels),
        config=ExportConfig(mean=MEAN, std=STD, ascent_steps=2, benign_budget=0.05),
    )
    with DefendedSession(report.path, device="cpu", threads=1) as session:
        answers = session.predict(example.test.images[:100])
    assert (answers.raw_labels == example.test.labels[:100]).mean() > 0.5


def test_weights_are_found_by_name(tmp_path: Path) -> None:
    plain, adversarial = (weights_path(tmp_path, Kind.VIT, 2, adversarial=flag) for flag in (False, True))
    assert (plain.name, adversarial.name) == ("vit-2.safetensors", "vit-2-pgd.safetensors")
    models = {}
    for path, seed in ((plain, 1), (adversarial, 2)):
        torch.manual_seed(seed)
        models[path.stem] = FACTORIES[Kind.VIT]()
        safetensors.torch.save_file(models[path.stem].state_dict(), path)
    for name, model in models.items():
        loaded = run.load_network(run.Folders(tmp_path, DATA_DIR, None), name)
        assert not loaded.training
        for first, second in zip(loaded.parameters(), model.parameters(), strict=True):
            assert torch.equal(first, second)


def test_the_attacked_images_come_first_in_the_material(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def labelled(value: int, count: int) -> Labelled:
        return Labelled(np.full((count, 28, 28), value, np.uint8), np.full(count, value, np.int64))

    splits = Splits(*(labelled(value, 4 + value) for value in range(5)))
    monkeypatch.setattr(run, "load_network", lambda folders, name: nn.Linear(1, len(name)))
    monkeypatch.setattr(run, "load_splits", lambda folder: splits)
    material = run.material_of(run.Folders(tmp_path, DATA_DIR, None), "vit-3")
    assert list(material.test.labels) == [3] * 7 + [4] * 8
    assert material.profile is not None and material.calibration is not None
    assert (material.profile.labels[0], material.calibration.labels[0]) == (1, 2)
    assert isinstance(material.model, nn.Linear) and material.model.out_features == len("vit-3")
    assert isinstance(material.surrogate, nn.Linear)
    assert material.surrogate.out_features == len(run.SURROGATES[Kind.VIT])


@pytest.mark.parametrize("kind", list(Kind))
def test_only_the_main_file_faces_more_than_gray_box_attacks(kind: Kind) -> None:
    assert run.MAIN in run.LIMITS
    for limit in run.LIMITS:
        for full in (False, True):
            cases = planned_cases(run.plan_of(limit, kind, full=full))
            counted = {case.name for case in cases[Threat.GRAY_BOX] if case.core}
            assert counted == set(NATURAL if kind.is_cifar else CORE)
            assert {f"PGD {parts}/255" for parts in (2, 4, 8, 16)} <= {
                case.name for case in cases[Threat.GRAY_BOX]
            }
            if limit != run.MAIN:
                assert set(cases) == {Threat.GRAY_BOX}
                continue
            assert {Threat.GRAY_BOX, Threat.TRANSFER, Threat.ADAPTIVE} <= set(cases)
            assert (Threat.QUERY in cases) == full
            for brief in (False, True):
                queried = planned_cases(run.plan_of(limit, kind, full=full, brief=brief, queries=True))
                assert set(queried) == set(Threat)
            assert {case.images for case in cases[Threat.ADAPTIVE]} == {run.CAPS["T4"]}
            assert {case.epsilon for case in cases[Threat.ADAPTIVE]} == set(run.EPS[kind.is_cifar])
            assert all(
                case.images == run.CAPS["C&W"] for case in cases[Threat.GRAY_BOX] if case.name == "C&W κ=0"
            )


def cifar() -> Path:
    """The folder of the CIFAR-10 files; skips where it is absent."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not (folder / "cifar10-test.npz").is_file():
        pytest.skip(f"{folder / 'cifar10-test.npz'} is absent")
    return folder


def test_cifar_splits_are_disjoint_and_as_documented() -> None:
    splits = load_cifar_splits(cifar())
    counts = {name: len(getattr(splits, name).labels) for name in PARTS}
    assert counts == {"training": 0, "profile": 2000, "calibration": 2000, "test": 1000, "further": 1000}
    sets = {name: contents(getattr(splits, name).images) for name in PARTS}
    for first, second in itertools.combinations(PARTS, 2):
        assert not sets[first] & sets[second], (first, second)
    assert splits.test.images.shape[1:] == (32, 32, 3) and splits.test.images.dtype == np.uint8


def test_the_third_party_network_is_as_accurate_as_its_data_s_notes_say() -> None:
    folders = run.Folders(Path(), DATA_DIR, cifar())
    model, splits = run.load_network(folders, "cifar-resnet20"), load_cifar_splits(cifar())
    assert accuracy(model, splits.further) == pytest.approx(0.81, abs=0.03)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cifar10-test\.npz is absent; .*--cifar"):
        load_cifar_splits(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"weights/resnet56-\*\.th are absent; .*--cifar"):
        run.load_network(run.Folders(tmp_path, tmp_path, tmp_path), "cifar-resnet56")
    with pytest.raises(FileNotFoundError, match=r"needs CIFAR-10: .*--cifar"):
        run.Folders(tmp_path, tmp_path, None).splits(Kind.CIFAR_VGG)


def test_a_stream_that_is_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cifar10-test.npz"
    np.savez(path, jpeg=np.zeros(4, np.uint8), offsets=np.array([0, 4]), labels=np.array([1]))
    with pytest.raises(ValueError, match=r"image 0 of .* is no JPEG stream"):
        load_cifar_splits(tmp_path)


def test_crops_move_images_and_keep_their_values() -> None:
    torch.manual_seed(0)
    images = torch.arange(2 * 3 * 32 * 32, dtype=torch.float32).reshape(2, 3, 32, 32) + 1
    moved = cropped(images)
    assert moved.shape == images.shape
    for before, after in zip(images, moved, strict=True):
        assert set(after.unique().tolist()) <= {0.0, *before.unique().tolist()}
    assert torch.equal(cropped(images, padding=0), images)


def test_rows_of_other_files_keep_their_rates_alone() -> None:
    whole = synthetic()
    main = run.row_of(run.MAIN, 0.02, whole)
    other = run.row_of(run.LIMITS[0], 0.01, whole)
    assert load(json.dumps(main["report"])) == replace(whole, detector=(), risk_coverage=())
    assert (main["limit"], main["benign_budget"]) == (run.MAIN, 0.02)
    read = load(json.dumps(other["report"]))
    assert (read.detector, read.latency, read.influence, read.risk_coverage) == ((), (), (), ())
    assert (read.benign, read.worst_case, read.mean_dsr) == (whole.benign, whole.worst_case, whole.mean_dsr)
    assert read.attacks == whole.attacks
    assert whole.latency and whole.detector, "there was something to leave out"


def test_the_commit_is_named() -> None:
    try:
        found = run.commit()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here, or no checkout")
    assert re.fullmatch(r"((\S+-\d+-g)?[0-9a-f]{12,40}|v[\w.]+)(-dirty)?", found)


def test_the_front_page_shows_the_weakest_of_a_kind() -> None:
    found = {network.name: network for network in read_networks()}
    cifar = [found["cifar-resnet20"], found["cifar-resnet56"]]
    assert weakest(cifar) is min(cifar, key=lambda network: network.main.mean_dsr.value)  # type: ignore[union-attr]
    assert weakest(cifar[::-1]) is weakest(cifar)


def test_a_name_that_is_no_network_ends_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["--work", str(tmp_path), "--networks", "vgg-1", "nonsense"])
    assert "expected kinds and seeds such as vgg-1" in capsys.readouterr().err
