"""`nip evaluate` as a user types it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.report.numbers import load
from nip_evaluate.stages.attackers import planned_cases
from nip_evaluate.terms.threats import Threat
from nip_runtime.cli.main import main
from tests.evaluate.run.conftest import Made

FACTORY = "nip_export.demo.model:SmallVgg"
Capture = pytest.CaptureFixture[str]


def given(typed: Path) -> list[str]:
    return [
        "--model",
        FACTORY,
        "--weights",
        str(typed / "weights.safetensors"),
        "--data",
        str(typed / "test.npz"),
    ]


def refused(capsys: Capture, *arguments: str) -> str:
    """The one line that a wrong command line is answered with."""
    assert main(["evaluate", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(("nip: error: expected ", "nip: error: argument "))
    return line


def test_help_teaches(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as left:
        main(["evaluate", "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for part in ("examples:", "nip evaluate nip-demo/model.nip.onnx --example --quick", "report.json"):
        assert part in text
    for part in ("report.html", "DIR/attacks", "goes on where it was", "hours on a CPU", "--export-data"):
        assert part in text
    for threat in ("T1 gray-box", "T2 transfer", "T3 queries", "T4 adaptive"):
        assert threat in text
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search(r"evaluate +attack an exported file", capsys.readouterr().out)


@pytest.mark.usefixtures("no_timing")
def test_a_short_evaluation(made: Made, typed: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "evaluation"
    arguments = ["evaluate", str(made.path), *given(typed), "--out", str(out)]
    arguments += ["--images", "12", "--attacks", "FGSM 8/255,fgsm 16/255", "--threat", "t1,t2", "--seed", "7"]
    arguments += ["--surrogate", "nip_export.demo.surrogate:SmallResNet"]
    arguments += ["--surrogate-weights", str(typed / "surrogate.safetensors")]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    evaluation = load((out / "report.json").read_text("utf-8"))
    assert [(result.name, result.defended.n) for result in evaluation.attacks] == [
        ("FGSM 8/255", 12),
        ("FGSM 16/255", 12),
        ("transfer: FGSM 8/255", 12),
    ]
    assert evaluation.benign.defended.n == len(made.images), "all test images tell the benign cost"
    assert (evaluation.subject.seed, evaluation.subject.quick) == (7, False)
    why = {item.what: item.why for item in evaluation.not_measured}
    assert why["T3 query"] == why["T4 adaptive"] == "left out of this run"
    assert "images that the file was made from" in why["shift of influence"]
    assert "T1 gray-box" in captured.out
    assert "T2 transfer" in captured.out
    assert "T4 adaptive: attackers" not in captured.out
    assert "not measured: " in captured.out
    assert str(out / "report.html") in captured.out.replace("\n", "")
    assert "attack: T1 FGSM 8/255" in captured.err
    assert sorted(path.name for path in out.iterdir()) == ["attacks", "report.html", "report.json"]
    assert len(list((out / "attacks").iterdir())) == 3
    assert main(arguments) == 0
    assert "attack: T" not in capsys.readouterr().err, "attacks are kept"


@pytest.mark.usefixtures("no_timing")
def test_other_eps_reach_the_adaptive_attackers(
    made: Made, typed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[EvaluationPlan] = []

    def stop(plan: EvaluationPlan, spec: object) -> None:
        planned.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr("nip_evaluate.stages.attackers.planned_cases", stop)
    arguments = ["evaluate", str(made.path), *given(typed), "--out", str(tmp_path / "out"), "--quick"]
    assert main([*arguments, "--eps", "4/255,0.05"]) == 130
    assert main(arguments) == 130
    assert planned[0].eps == planned[0].adaptive_eps == (4 / 255, 0.05)
    assert (planned[0].attacks, planned[0].quick) == (("quick",), True)
    assert (planned[1].eps, planned[1].adaptive_eps) == (None, (8 / 255, 25 / 255))
    assert planned[1].threats == tuple(Threat)


def test_list_shows_every_attack_without_a_file(capsys: Capture, tmp_path: Path) -> None:
    assert main(["evaluate", "--list", "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    tables = re.split(r"^(?=T[1-4] )", text, flags=re.MULTILINE)[1:]
    planned = planned_cases(EvaluationPlan())
    for table, (threat, cases) in zip(tables, planned.items(), strict=True):
        assert table.startswith(f"{threat} ")
        rows = [
            [cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if "│" in line
        ]
        named = {row[0]: row for row in rows if row[0]}
        assert list(named) == [case.name for case in cases]
        for case in cases:
            _, library, norm, size, images, settings = named[case.name]
            assert (library, norm) == (case.library, case.norm)
            assert case.settings.startswith(settings) and settings
            assert images == ("all" if case.images is None else f"first {case.images}")
            if case.epsilon is not None:
                assert size.startswith("ε = ")
            else:
                assert size == ("–" if case.confidence is None else f"κ = {case.confidence:g}")
    assert "minimum norm" in text
    assert "200 queries" not in text


def test_list_follows_the_other_options(capsys: Capture, made: Made) -> None:
    arguments = ["evaluate", str(made.path), "--list", "--quick", "--eps", "4/255", "--threat", "T1,t3"]
    assert main([*arguments, "--images", "12", "--attacks", "pgd,DeepFool"]) == 0
    text = capsys.readouterr().out
    assert "PGD 4/255" in text
    assert "DeepFool" in text
    assert "FGSM" not in text
    assert "first 12" in text
    assert "200 queries" in text
    assert "T4" not in text
    assert main(["evaluate", "--list", "--threat", "t2", "--attacks", "DeepFool"]) == 0
    assert "none of the chosen attacks" in capsys.readouterr().out


def test_options_that_lack_something_or_do_not_go_together(made: Made, typed: Path, capsys: Capture) -> None:
    file = str(made.path)
    assert "got none; name it, or pass --list" in refused(capsys)
    assert "--model or --onnx, and --data (or --example), got neither" in refused(capsys, file)
    assert "(or --example), got --model;" in refused(capsys, file, "--model", FACTORY)
    both = refused(capsys, file, "--example", "--data", str(typed / "test.npz"))
    assert "--example alone" in both
    assert "--example with --data" in both
    lone = [*given(typed), "--calibration", str(typed / "calibration.npz")]
    assert "--export-data with --calibration" in refused(capsys, file, *lone)
    weights = [*given(typed), "--surrogate-weights", str(typed / "weights.safetensors")]
    assert "--surrogate with --surrogate-weights" in refused(capsys, file, *weights)


def test_values_that_are_none(made: Made, capsys: Capture, tmp_path: Path) -> None:
    start = [str(made.path), "--example", "--out", str(tmp_path / "out")]
    assert "t1, t2, t3, t4, got 't5'; pass" in refused(capsys, *start, "--threat", "t1,t5")
    assert "each once, got T1, T1" in refused(capsys, *start, "--threat", "t1,t1")
    assert "fraction such as 8/255, got '8/0'" in refused(capsys, *start, "--eps", "8/0")
    assert "fraction such as 8/255, got 'big'" in refused(capsys, *start, "--eps", "4/255,big")
    assert "eps: positive numbers" in refused(capsys, *start, "--eps", "0")
    assert "divide an ε on the scale of 0…255" in refused(capsys, "--list", "--eps", "8")
    assert "an attack among" in refused(capsys, "--list", "--attacks", "core,PGDD")
    assert "images: at least 2, got 1" in refused(capsys, *start, "--images", "1")
    assert "seed: 0 or more" in refused(capsys, *start, "--seed", "-1")
    assert "such as 224x224, got '28'" in refused(capsys, *start, "--size", "28")
    assert not (tmp_path / "out").exists()


def test_example_brings_the_example_s_network_and_images(made: Made, capsys: Capture, tmp_path: Path) -> None:
    """The file here was made from fewer images than the example's, which shows that those are compared."""
    line = refused(capsys, str(made.path), "--example", "--out", str(tmp_path / "out"))
    assert "profile images that the file was made from" in line
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_defended_one(made: Made, typed: Path, capsys: Capture, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["evaluate", str(made.plain), *given(typed), *out]) == 2
    assert "plain ONNX" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "none.onnx"), *given(typed), *out]) == 2
    assert "none.onnx" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_export_data_opens_the_laboratory(
    made: Made, typed: Path, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its variants take long, so the run is stopped once the images have been found to be the file's."""
    from nip_evaluate.given import material

    def opened(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(material, "Laboratory", opened)
    images = ["--export-data", str(typed / "profile.npz"), "--calibration", str(typed / "calibration.npz")]
    out = ["--out", str(tmp_path / "out")]
    assert main(["evaluate", str(made.path), *given(typed), *images, *out]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "nip: stopped"
    swapped = ["--export-data", str(typed / "calibration.npz"), "--calibration", str(typed / "profile.npz")]
    assert "profile images that the file" in refused(capsys, str(made.path), *given(typed), *swapped, *out)
