from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nip_runtime.cli.main import main
from nip_runtime.errors import ArtifactError, InputError
from nip_runtime.operate.triton import (
    GraphOptimisation,
    InstanceKind,
    Instances,
    ServingSettings,
    check_model,
    check_repository,
    placing,
    write_repository,
)
from tests.serving.conftest import GOLDENS
from tests.signing.conftest import make_owner


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def repository(tmp_path: Path, model: Path) -> Path:
    write_repository(model, tmp_path / "models")
    return tmp_path / "models"


def test_a_new_model_has_what_a_server_needs_and_no_more(model: Path, tmp_path: Path) -> None:
    written = write_repository(model, tmp_path / "deep" / "models")
    assert written.model.name == "golden"
    assert (written.version, written.replaced, written.model.versions) == (1, (), (1,))
    made = files(tmp_path / "deep" / "models")
    assert set(made) == {"golden/config.pbtxt", "golden/1/model.onnx", "golden/warmup/noise"}
    assert made["golden/1/model.onnx"] == model.read_bytes()
    noise = np.frombuffer(made["golden/warmup/noise"], "<f4")
    assert noise.shape == (28 * 28,)
    assert 0 <= noise.min() < 0.1
    assert 0.9 < noise.max() <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "golden.nip.onnx"]
    # A copy: neither file follows what happens to the other.
    assert not model.samefile(tmp_path / "deep" / "models" / "golden" / "1" / "model.onnx")


def test_the_configuration_says_what_was_asked_for(model: Path, tmp_path: Path) -> None:
    settings = ServingSettings(
        max_batch=8,
        delay_us=250,
        instances=Instances.parse("gpu:0,2x3"),
        threads=2,
        optimisation=GraphOptimisation.EXTENDED,
    )
    folder = write_repository(model, tmp_path / "models", settings=settings, name="x").model.folder
    text = (folder / "config.pbtxt").read_text()
    for line in (
        'name: "x"',
        "max_batch_size: 8",
        'input { name: "input" data_type: TYPE_FP32 dims: [1, 28, 28] }',
        'output { name: "nip_flagged" data_type: TYPE_BOOL dims: [1] reshape { shape: [] } }',
        "dynamic_batching { max_queue_delay_microseconds: 250 }",
        "instance_group { kind: KIND_GPU count: 3 gpus: [0, 2] }",
        "optimization { graph { level: 1 } }",
        'parameters { key: "intra_op_thread_count" value { string_value: "2" } }',
    ):
        assert line in text.splitlines()
    assert 'model_warmup { name: "batch 8" batch_size: 8 ' in text
    assert "queue_policy" not in text


def test_the_same_again_changes_nothing(repository: Path, model: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    assert write_repository(model, repository).replaced == ()
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == stamps


@pytest.mark.parametrize(
    ("change", "named"),
    [("model", "1/model.onnx"), ("settings", "config.pbtxt"), ("hand", "config.pbtxt")],
)
def test_nothing_is_replaced_unasked(repository: Path, model: Path, change: str, named: str) -> None:
    settings = ServingSettings(max_batch=8 if change == "settings" else 64)
    if change == "model":
        model.write_bytes((GOLDENS / "always.onnx").read_bytes())
    if change == "hand":
        with (repository / "golden" / "config.pbtxt").open("a") as config:
            config.write("# tuned by hand\n")
    before = files(repository)
    with pytest.raises(InputError, match=f"got another {named}; .*--force"):
        write_repository(model, repository, settings=settings)
    assert files(repository) == before
    assert write_repository(model, repository, settings=settings, force=True).replaced == (named,)
    assert files(repository)["golden/1/model.onnx"] == model.read_bytes()
    assert "by hand" not in (repository / "golden" / "config.pbtxt").read_text()


def test_a_version_is_added_beside_the_first(repository: Path, model: Path) -> None:
    model.write_bytes((GOLDENS / "always.onnx").read_bytes())
    before = files(repository)
    written = write_repository(model, repository, version=12)
    assert (written.version, written.model.versions) == (12, (1, 12))
    after = files(repository)
    assert after.pop("golden/12/model.onnx") == model.read_bytes()
    assert after == before


def test_versions_with_other_tensors_do_not_share_a_folder(
    repository: Path, model: Path, tmp_path: Path, other: Path
) -> None:
    before = files(repository)
    with pytest.raises(ArtifactError, match=r"golden/config\.pbtxt: expected input"):
        write_repository(other, repository, name="golden", version=2, force=True)
    assert files(repository) == before


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Path]:
    """A defended file for larger images: a golden one whose shapes and manifest were changed together.

    Of policy always, for its second pass looks by no view, whose numbers fit one size.
    """
    onnx = pytest.importorskip("onnx")
    from nip_runtime.file.container import parse_container

    model = onnx.load(GOLDENS / "always.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32
    (entry,) = (each for each in model.metadata_props if each.key == "nip.manifest")
    graph = parse_container(model.SerializeToString()).graph_digest
    old = parse_container((GOLDENS / "always.onnx").read_bytes()).graph_digest
    entry.value = entry.value.replace(old, graph).replace('"shape": [1, 28, 28]', '"shape": [1, 32, 28]', 1)
    path = tmp_path / "other.nip.onnx"
    path.write_bytes(model.SerializeToString())
    yield path


def test_a_signature_goes_with_its_model(repository: Path, model: Path, tmp_path: Path) -> None:
    bundle = model.with_name("golden.nip.onnx.sig")
    bundle.write_text("{}")
    write_repository(model, repository, name="signed")
    assert (repository / "signed" / "1" / "model.onnx.sig").read_text() == "{}"
    # Without it the old one would stand beside the file, and say nothing true about it.
    bundle.unlink()
    with pytest.raises(InputError, match=r"model\.onnx\.sig"):
        write_repository(model, repository, name="signed")
    write_repository(model, repository, name="signed", force=True)
    assert not (repository / "signed" / "1" / "model.onnx.sig").exists()


def test_a_required_signature_is_checked_and_holds_in_the_repository(model: Path, tmp_path: Path) -> None:
    owner, stranger = make_owner(tmp_path, "owner"), make_owner(tmp_path, "stranger")
    with pytest.raises(ArtifactError, match=r"golden\.nip\.onnx\.sig"):
        write_repository(model, tmp_path / "models", require_signature=owner.public)
    assert main(["sign", "--key", str(owner.private), str(model)]) == 0
    with pytest.raises(ArtifactError):
        write_repository(model, tmp_path / "models", require_signature=stranger.public)
    assert not (tmp_path / "models").exists()
    arguments = ["--out", str(tmp_path / "models"), "--require-signature", str(owner.public)]
    assert main(["triton", str(model), *arguments]) == 0
    placed = tmp_path / "models" / "golden" / "1" / "model.onnx"
    assert main(["verify", "--pub", str(owner.public), str(placed)]) == 0
    placed.write_bytes((GOLDENS / "always.onnx").read_bytes())
    assert main(["verify", "--pub", str(owner.public), str(placed)]) != 0


def test_what_is_no_defended_file_is_refused(tmp_path: Path, model: Path) -> None:
    broken = bytearray(model.read_bytes())
    broken[len(broken) // 2] ^= 1
    for content in (b"", b"text", bytes(broken), model.read_bytes()[:-1000]):
        model.write_bytes(content)
        with pytest.raises(ArtifactError):
            write_repository(model, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "ä", "a" * 129, "a b"])
def test_a_name_that_can_be_no_folder_is_refused(name: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--name"):
        write_repository(model, tmp_path / "models", name=name)


@pytest.mark.parametrize("version", [0, -1, 1 << 31, True])
def test_a_version_that_triton_cannot_read_is_refused(version: int, model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="version from 1"):
        write_repository(model, tmp_path / "models", version=version)


def test_a_failure_half_way_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = placing.put

    def full(target: Path, content: placing.Content) -> None:
        if target.name == "noise":
            raise OSError(28, "No space left on device")
        put(target, content)

    monkeypatch.setattr(placing, "put", full)
    (tmp_path / "models").mkdir()
    with pytest.raises(InputError, match="No space left"):
        write_repository(model, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["golden.nip.onnx", "models"]


def test_a_target_that_is_no_folder_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "golden").write_text("")
    for target in ("file", "models"):
        with pytest.raises(InputError, match="expected a folder that can be written"):
            write_repository(model, tmp_path / target)


@pytest.mark.parametrize(
    ("text", "instances"),
    [
        ("cpu", Instances()),
        ("cpu:2", Instances(count=2)),
        ("gpu", Instances(kind=InstanceKind.GPU)),
        ("gpu:1", Instances(kind=InstanceKind.GPU, gpus=(1,))),
        ("gpu:0,1", Instances(kind=InstanceKind.GPU, gpus=(0, 1))),
        ("gpu:0,1x2", Instances(kind=InstanceKind.GPU, gpus=(0, 1), count=2)),
        ("gpux2", Instances(kind=InstanceKind.GPU, count=2)),
    ],
)
def test_instances_are_read(text: str, instances: Instances) -> None:
    assert Instances.parse(text) == instances


@pytest.mark.parametrize(
    "text", ["", "cpu:0", "cpu:-1", "cpu:1,2", "gpu:0,0", "gpu:a", "tpu:1", "cpu:2x2", "gpu:"]
)
def test_other_instances_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="gpu:0,1x2"):
        Instances.parse(text)


@pytest.mark.parametrize(
    "bad", [{"max_batch": 0}, {"max_batch": 1 << 20}, {"delay_us": -1}, {"delay_us": 1 << 30}, {"threads": 0}]
)
def test_settings_without_meaning_are_refused(bad: dict[str, int]) -> None:
    (field,) = bad
    with pytest.raises(InputError, match=f"expected {field} from"):
        ServingSettings(**bad)  # type: ignore[arg-type]


def test_the_command_writes_and_checks(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "models")
    assert main(["triton", str(model), "--out", out, "--max-batch", "16", "--instances", "cpu:2"]) == 0
    assert f"tritonserver --model-repository={out}" in capsys.readouterr().out
    assert main(["triton", "--check", out]) == 0
    assert "model golden, version 1, at most 16 rows: agrees" in capsys.readouterr().out
    assert main(["triton", str(model), "--out", out]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["triton", str(model), "--out", out, "--force", "--optimise", "basic", "--threads", "1"]) == 0
    assert "replaced      config.pbtxt" in capsys.readouterr().out
    assert check_repository(out)[0].max_batch == 64
    text = (tmp_path / "models" / "golden" / "config.pbtxt").read_text()
    assert "optimization { graph { level: -1 } }" in text
    assert '"intra_op_thread_count" value { string_value: "1" }' in text
    assert main(["triton", str(model), "--out", out, "--force", "--delay-us", "7"]) == 0
    assert "max_queue_delay_microseconds: 7 " in (tmp_path / "models" / "golden" / "config.pbtxt").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["triton"],
        ["triton", "{model}"],
        ["triton", "--check", "{out}", "--out", "{out}"],
        ["triton", "--check", "{out}"],
        ["triton", "--check", "{out}", "{model}"],
        ["triton", "{out}", "--out", "{out}"],
        ["triton", "{model}", "--out", "{out}", "--instances", "many"],
        ["triton", "{model}", "--out", "{out}", "--delay-us", "soon"],
        ["triton", "{model}", "--out", "{out}", "--optimise", "more"],
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(model=model, out=tmp_path / "models") for argument in arguments]
    assert main(filled) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert shown.err.startswith("nip: error: ")


@pytest.mark.parametrize(
    "option",
    ["--require-signature=pub.pem", "--force", "--name=x", "--version=2", "--max-batch=8", "--threads=1"],
)
def test_checking_takes_no_option_of_writing(
    option: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["triton", "--check", str(repository), option]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"expected --check REPO alone, got {option.partition('=')[0]} too" in shown.err


@pytest.mark.parametrize("there", ["golden", "golden/1", "golden/warmup"])
def test_what_is_missing_comes_before_the_configuration(
    there: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that loads the model at a bad moment finds no configuration yet, and not half a model."""
    repository = tmp_path / "models"
    (repository / there).mkdir(parents=True)
    put = placing.put

    def look(target: Path, content: placing.Content) -> None:
        if target == repository / "golden" / "config.pbtxt":
            assert set(files(repository)) == {"golden/1/model.onnx", "golden/warmup/noise"}
            looked.append(target)
        put(target, content)

    looked: list[Path] = []
    monkeypatch.setattr("nip_runtime.operate.triton.repository.put", look)
    assert write_repository(model, repository).replaced == ()
    assert len(looked) == 1


def test_a_moved_folder_is_noticed(repository: Path) -> None:
    shutil.move(repository / "golden", repository / "silver")
    with pytest.raises(ArtifactError, match="expected the folder's name, name: 'silver', got 'golden'"):
        check_model(repository / "silver")


def test_a_folder_is_made_aside_and_then_renamed(tmp_path: Path) -> None:
    """A server that polls the repository sees no half of it, nor a folder that it takes for a model."""
    repository = tmp_path / "models"
    repository.mkdir()
    seen: list[int] = []

    def look(made: Path) -> None:
        assert list(repository.iterdir()) == []
        assert files(made) == {"1/model.onnx": b"model", "config.pbtxt": b"text"}
        seen.append(made.stat().st_ino)

    contents = {"1/model.onnx": b"model", "1/model.onnx.sig": None, "config.pbtxt": b"text"}
    placing.place(repository / "x", contents, repository=repository, check=look)
    assert [(repository / "x").stat().st_ino] == seen
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
