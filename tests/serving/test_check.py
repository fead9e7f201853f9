from __future__ import annotations

from pathlib import Path

import pytest

from nip_runtime.errors import ArtifactError
from nip_runtime.operate.triton import check_model, check_repository, write_repository
from tests.serving.breakages import BREAKAGES, UNREADABLE
from tests.serving.conftest import GOLDENS


@pytest.fixture
def folder(tmp_path: Path, model: Path) -> Path:
    return write_repository(model, tmp_path / "models").model.folder


def change(folder: Path, old: str, new: str) -> None:
    config = folder / "config.pbtxt"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_configuration_that_parts_from_its_graph_is_caught(folder: Path, breakage: str) -> None:
    old, new, named = BREAKAGES[breakage]
    change(folder, old, new)
    with pytest.raises(ArtifactError) as caught:
        check_model(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'config.pbtxt'}: expected ")
    assert named in message
    assert message.endswith("; write it with `nip triton`, or correct it")


@pytest.mark.parametrize("breakage", UNREADABLE)
def test_a_configuration_that_is_none_is_caught(folder: Path, breakage: str) -> None:
    old, new, named = UNREADABLE[breakage]
    change(folder, old, new)
    with pytest.raises(ArtifactError, match=r"expected a model configuration in .*something else") as caught:
        check_model(folder)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_batch_size: 64", "max_batch_size: 128"),
        ("max_batch_size: 64", 'max_batch_size: 0x40 platform: "onnxruntime_onnx"'),
        ("delay_microseconds: 500", "delay_microseconds: 0 preferred_batch_size: [16, 32]"),
        ("dims: [1, 28, 28] }\n", "dims: 1 dims: 28 dims: 28 }\n"),
        ("output { ", "output: < "),
        ("instance_group {", "response_cache { enable: false }\ninstance_group {"),
        ('name: "logits"', "name: 'log' # as in the graph\n 'its' label_filename: \"classes.txt\""),
        (
            'name: "golden"',
            'name: "g\\157lden"; version_policy { all { } }, metric_tags { key: "a" value: "b" }',
        ),
        ("batch_size: 64 inputs", "batch_size: 32 inputs"),
        ('input_data_file: "noise"', "zero_data: true"),
    ],
)
def test_what_may_be_tuned_by_hand_may_be(folder: Path, old: str, new: str) -> None:
    change(folder, old, new)
    if new.startswith("output: <"):
        config = folder / "config.pbtxt"
        lines = config.read_text().splitlines()
        config.write_text("\n".join(line[:-1] + ">" if line.startswith("output") else line for line in lines))
    assert check_model(folder).name == "golden"


def test_another_graph_under_the_same_configuration_is_caught(folder: Path) -> None:
    (folder / "1" / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match=r"1/model\.onnx"):
        check_model(folder)


def test_every_version_is_looked_at(folder: Path) -> None:
    (folder / "2").mkdir()
    with pytest.raises(ArtifactError, match=r"2/model\.onnx"):
        check_model(folder)
    (folder / "2" / "model.onnx").write_bytes((GOLDENS / "detect.onnx").read_bytes())
    assert check_model(folder).versions == (1, 2)


@pytest.mark.parametrize("name", ["0", "01"])
def test_a_version_folder_that_triton_reads_otherwise_is_caught(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    with pytest.raises(ArtifactError, match="version folders named 1, 2"):
        check_model(folder)


def test_a_shortened_warm_up_file_is_caught(folder: Path) -> None:
    noise = folder / "warmup" / "noise"
    noise.write_bytes(noise.read_bytes()[:-4])
    with pytest.raises(ArtifactError, match="3136 bytes in warmup/noise, got 3132"):
        check_model(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a" * ((1 << 20) + 1), b"a { " * 5000, b"", b"a: \x00"])
def test_a_hostile_configuration_is_one_error(folder: Path, content: bytes) -> None:
    (folder / "config.pbtxt").write_bytes(content)
    with pytest.raises(ArtifactError):
        check_model(folder)


def test_a_repository_is_checked_whole(folder: Path, model: Path, tmp_path: Path) -> None:
    repository = folder.parent
    write_repository(model, repository, name="second")
    assert [each.name for each in check_repository(repository)] == ["golden", "second"]
    (repository / "second" / "config.pbtxt").unlink()
    with pytest.raises(ArtifactError, match="second"):
        check_repository(repository)
    with pytest.raises(ArtifactError, match="No such file"):
        check_repository(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="expected model folders"):
        check_repository(tmp_path / "empty")
