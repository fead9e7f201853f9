"""`nip export` as a user types it, and the other commands on what it makes."""

from __future__ import annotations

import inspect
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nip_export.commands.export import class_names_in
from nip_runtime.cli.main import main
from nip_runtime.operate.ui.examples import examples_beside, read_examples
from nip_runtime.session import DefendedSession
from tests.export.made import Workshop
from tests.export.networks import example, net
from tests.goldens.generate import GoldenNet

FACTORY = "tests.goldens.generate:GoldenNet"
NORMALISE = ["--mean", "0.286", "--std", "0.353"]
Capture = pytest.CaptureFixture[str]
EVALUATION = ("art", "foolbox", "eagerpy", "matplotlib", "scipy")


@pytest.fixture(scope="module")
def inputs(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights in both forms and benign images as .npz, and as PNGs sorted by class."""
    folder = tmp_path_factory.mktemp("inputs")
    state = workshop.trained("tiny").state_dict()
    save_file(state, folder / "weights.safetensors")
    torch.save(state, folder / "weights.pt")
    data = example().calibration
    np.savez(folder / "profile.npz", images=data.images[:500], labels=data.labels[:500])
    assert cv2.imwrite(str(folder / "photo.jpg"), data.images[0])
    np.savez(folder / "held_out.npz", images=data.images[500:1000], labels=data.labels[500:1000])
    names = example().class_names
    (folder / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    for name in names:
        (folder / "png" / name.replace("/", "-")).mkdir(parents=True)
    for row in range(600):
        name = names[data.labels[row]].replace("/", "-")
        assert cv2.imwrite(str(folder / "png" / name / f"{row:04}.png"), data.images[row])
    return folder


def test_npz_and_safetensors(inputs: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "model.nip.onnx"
    arguments = ["export", "--model", FACTORY, "--weights", str(inputs / "weights.safetensors")]
    arguments += ["--data", str(inputs / "profile.npz"), "--calibration", str(inputs / "held_out.npz")]
    arguments += ["--out", str(out), *NORMALISE, "--benign-budget", "0.05", "--eps", "6/255", "--seed", "4"]
    arguments += ["--ui-examples", str(inputs / "held_out.npz")]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    examples = examples_beside(out)
    assert f"{examples}  for nip ui {out}" in captured.out
    for part in (str(out), "policy", "guarded", "budget 5.0%", "benign accuracy", "verified", "MB"):
        assert part in captured.out
    assert "Verify against torch and numpy" in captured.err, "stages are named where no bar can be drawn"
    assert "\r" not in captured.err
    with DefendedSession(out, device="cpu") as session:
        manifest = session.manifest
        assert len(read_examples(examples, manifest).images) == 24
        accuracy = (session.predict(example().test.images).labels == example().test.labels).mean()
    assert accuracy > 0.55
    assert (manifest.defence.eps_pixel, manifest.provenance.seed) == (6 / 255, 4)
    assert manifest.calibration.images == 500
    assert (manifest.input.mean, manifest.input.std) == ((0.286,), (0.353,))
    assert manifest.output.class_names is None


def test_an_export_runs_where_nothing_of_the_evaluations_extra_is_installed(
    inputs: Path, tmp_path: Path
) -> None:
    """Its examples for the page, too: their attacks are the evaluation's own."""
    out, data = tmp_path / "model.nip.onnx", str(inputs / "profile.npz")
    source = inspect.getsource(GoldenNet)  # its own module imports foolbox
    (tmp_path / "alone.py").write_text(f"import torch\nfrom torch import Tensor, nn\n\n{source}")
    arguments = ["export", "--model", "alone:GoldenNet", "--weights", str(inputs / "weights.pt")]
    arguments += [
        "--data",
        data,
        "--out",
        str(out),
        *NORMALISE,
        "--benign-budget",
        "0.05",
        "--ui-examples",
        data,
    ]
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({EVALUATION!r}))\n"  # None: an import of it raises
        f"from nip_runtime.cli.main import main\nsys.exit(main({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert (done.returncode, out.exists(), examples_beside(out).exists()) == (0, True, True), done.stderr


def export_folder(inputs: Path, out: Path, *more: str) -> int:
    names = [name.replace("/", "-") for name in example().class_names]
    classes = inputs / "folders.txt"
    classes.write_text("\n".join(names), encoding="utf-8")
    arguments = ["export", "--model", FACTORY, "--weights", str(inputs / "weights.pt")]
    arguments += ["--data", str(inputs / "png"), "--out", str(out), *NORMALISE, "--classes", str(classes)]
    return main([*arguments, "--benign-budget", "0.05", *more])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_class_names_are_read_as_any_editor_writes_them(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "names.txt").write_bytes("älter & neu\r\n\r\n 猫 cat \r\n".encode(encoding))
    assert class_names_in(tmp_path / "names.txt") == ("älter & neu", "猫 cat")


def test_folder_and_checkpoint_then_inspect_and_predict(
    inputs: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Folders sort otherwise than the model's classes; --classes tells which is which."""
    names = [name.replace("/", "-") for name in example().class_names]
    assert names != sorted(names)
    out = tmp_path / "model.onnx"
    assert export_folder(inputs, out, "--policy", "detect", "--taps", "features.2,features.4,features.6") == 0
    capsys.readouterr()

    assert main(["inspect", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["graph_digest_matches"] is True
    assert document["manifest"]["policy"] == "detect"
    assert document["manifest"]["output"]["class_names"] == names
    assert document["manifest"]["defence"]["influence_layer"] == "classifier:input"
    assert main(["inspect", str(out)]) == 0
    assert "policy detect" in capsys.readouterr().out

    assert main(["predict", str(out), str(inputs / "png"), "--json", "--device", "cpu"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 600
    right = [row["label_name"] == Path(row["file"]).parent.name for row in rows]
    assert np.mean(right) > 0.55
    assert 0 < sum(row["flagged"] for row in rows) < 90
    assert all(row["label"] == row["raw_label"] for row in rows)


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused_and_not_run(
    inputs: Path, tmp_path: Path, capsys: Capture
) -> None:
    mark = tmp_path / "ran"
    torch.save({"weight": Hostile(mark)}, tmp_path / "hostile.pt")
    arguments = ["export", "--model", FACTORY, "--weights", str(tmp_path / "hostile.pt")]
    arguments += ["--data", str(inputs / "profile.npz"), "--out", str(tmp_path / "m.onnx")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "may run code when loaded" in error
    assert error.count("\n") == 1
    assert not mark.exists()
    assert not (tmp_path / "m.onnx").exists()
    torch.load(tmp_path / "hostile.pt", weights_only=False)
    assert mark.exists(), "the file was hostile"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--model": "nothing"}, "expected a model as package.module:factory, got 'nothing'"),
        ({"--model": "no_such_module:f"}, "no module named 'no_such_module'"),
        ({"--model": "tests.models:no_such_factory"}, "has no 'no_such_factory'"),
        ({"--model": "tests.models:case"}, "it must work without arguments"),
        ({"--model": "tests.models:CLASSES"}, "to be a function or a torch module, got int"),
        ({"--model": "tests.models:SmallResNet"}, "as it was trained, with as many classes"),
        ({"--weights": "none.safetensors"}, "expected weights at none.safetensors, got nothing there"),
        ({"--weights": "{in}/profile.npz"}, "{in}/profile.npz"),
        (
            {"--weights": "{in}/photo.jpg"},
            "expected weights in {in}/photo.jpg, got a JPEG image; name a state_dict",
        ),
        ({"--data": "none.npz"}, "expected a folder or an .npz file at none.npz"),
        ({"--data": "{in}/weights.pt"}, "expected a folder with one subfolder per class, an .npz"),
        ({"--calibration": "none"}, "at none"),
        ({"--classes": "none.txt"}, "expected class names, one per line, in none.txt"),
        ({"--out": "{in}/no/folder/m.onnx"}, "cannot write to the folder"),
        ({"--out": "{in}"}, "expected a file to write"),
        ({"--policy": "sometimes"}, "argument --policy: invalid choice: 'sometimes'"),
        ({"--benign-budget": "2"}, "expected a share above 0 and below 1, such as 0.02 for 2 %, got '2'"),
        ({"--benign-budget": "much"}, "expected a number or a fraction such as 8/255, got 'much'"),
        ({"--eps": "8/0"}, "expected a number or a fraction such as 8/255, got '8/0'"),
        ({"--eps": "3"}, "eps: expected above 0, below 1"),
        ({"--mean": "0.1,0.2"}, "std: expected mean and std together"),
        ({"--size": "28"}, "expected height x width such as 224x224, got '28'"),
        ({"--taps": "features.77"}, "features.77"),
        ({"--seed": "-1"}, "seed: expected"),
        ({"--speed": "9"}, "unrecognized arguments: --speed"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    inputs: Path, tmp_path: Path, capsys: Capture, changes: dict[str, str], message: str
) -> None:
    options = {
        "--model": FACTORY,
        "--weights": str(inputs / "weights.safetensors"),
        "--data": str(inputs / "profile.npz"),
        "--out": str(tmp_path / "m.onnx"),
    }
    options.update({name: value.format(**{"in": inputs}) for name, value in changes.items()})
    assert main(["export", *(f"{name}={value}" for name, value in options.items())]) == 2
    captured = capsys.readouterr()
    *stages, last = captured.err.splitlines()
    assert captured.out == ""
    assert last.startswith("nip: error: ")
    assert message.format(**{"in": inputs}) in last
    assert all(stage.endswith(" …") for stage in stages)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--view=spin", "view: expected 'auto', or mirror"),
        ("--batch-size=0", "batch_size: expected a whole number, at least 1"),
        ("--eps=3", "eps: expected above 0, below 1"),
        ("--expect-accuracy=92", "expected a share above 0, at most 1, such as 0.92"),
        ("--out=no/folder/m.onnx", "cannot write to the folder"),
        (f"--resume={__file__}", "expected a folder of a stopped export or an empty one"),
        ("--size=8x8 --preprocess=resize=9,crop=8", "expected --size, which stretches, or --preprocess"),
    ],
)
def test_wrong_options_are_refused_before_images_are_read(
    inputs: Path, tmp_path: Path, capsys: Capture, option: str, message: str
) -> None:
    """The images are not even there."""
    arguments = ["export", "--model", FACTORY, "--weights", str(inputs / "weights.safetensors")]
    arguments += ["--data", "none.npz", "--out", str(tmp_path / "m.onnx"), *option.split(" ")]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_missing_argument_is_named(capsys: Capture) -> None:
    assert main(["export", "--data", "x.npz"]) == 2
    assert "the following arguments are required: --out" in capsys.readouterr().err


def test_help_teaches_with_an_example(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["export", "--help"])
    text = capsys.readouterr().out
    assert "  nip export --model my_nets:resnet18 --weights resnet18.safetensors" in text
    assert "8/255" in text


def test_the_tiny_network_is_the_goldens(workshop: Workshop) -> None:
    assert type(workshop.trained("tiny")) is net("tiny").factory


def test_a_flat_folder_of_unlabelled_images(inputs: Path, tmp_path: Path, capsys: Capture) -> None:
    flat, out = tmp_path / "flat", tmp_path / "model.nip.onnx"
    flat.mkdir()
    for path in (inputs / "png").rglob("*.png"):
        (flat / path.name).write_bytes(path.read_bytes())
    arguments = ["export", "--model", FACTORY, "--weights", str(inputs / "weights.safetensors")]
    arguments += [
        "--data",
        str(flat),
        "--out",
        str(out),
        *NORMALISE,
        "--view",
        "mirror",
        "--batch-size",
        "64",
    ]
    assert main(arguments) == 2
    assert "--unlabelled" in capsys.readouterr().err
    assert main([*arguments, "--unlabelled", "--memory", "1G"]) == 0
    told = capsys.readouterr().out
    assert "predictions stand in" in told
    assert "agreement         100.0%" in told and "give labels: without them" in told
    assert main(["inspect", str(out)]) == 0
    seen = capsys.readouterr().out
    assert "  agreement   raw 100.0%" in seen
    assert "Made without labels" in seen and "  labels      none: the network's own" in seen
    assert main(["inspect", "--card", str(out)]) == 0
    card = capsys.readouterr().out
    assert "agreement with the network: 100.0%" in card and "no labels" in card
    assert all("accura" not in text.lower() for text in (told, seen, card))
    assert main(["inspect", "--json", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["calibration"]["labels"] == "predicted"


@pytest.mark.parametrize(
    ("text", "message"),
    [("4Q", "an amount of memory such as 4G or 800M, got '4Q'"), ("4", "at least 1048576")],
)
def test_a_slip_in_the_amount_of_memory(
    inputs: Path, tmp_path: Path, capsys: Capture, text: str, message: str
) -> None:
    arguments = ["export", "--model", FACTORY, "--data", str(inputs / "profile.npz"), "--memory", text]
    assert main([*arguments, "--out", str(tmp_path / "x.onnx")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("resumed", [False, True])
def test_ctrl_c_is_answered_with_how_to_go_on(inputs: Path, tmp_path: Path, resumed: bool) -> None:
    out, kept = tmp_path / "model.nip.onnx", tmp_path / "kept"
    command = [sys.executable, "-m", "nip_runtime.cli.main", "export", "--model", FACTORY]
    command += ["--weights", str(inputs / "weights.pt"), "--data", str(inputs / "profile.npz")]
    command += ["--out", str(out), *(["--resume", str(kept)] if resumed else [])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as export:
        assert export.stderr is not None
        for line in export.stderr:
            if "Profile images" in line:
                export.send_signal(signal.SIGINT)
                break
        told = export.stderr.read().splitlines()[-1]
    assert export.returncode == 130
    how = "the same command" if resumed else "with --resume DIR, an export that was stopped"
    assert told == f"nip: stopped; {how} goes on where it was"
    assert [path.name for path in tmp_path.iterdir()] == (["kept"] if resumed else [])
