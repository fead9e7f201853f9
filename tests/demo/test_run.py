"""The whole demo in a small form: fewer images, two attacks, a short ascent; then once more in its folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnxruntime as ort
import pytest

from nip_evaluate.adaptive.cases import RECIPES
from nip_evaluate.demo.paths import DemoPaths
from nip_evaluate.demo.run import PLAN, run_demo
from nip_evaluate.demo.summary import summarise
from nip_evaluate.report.numbers import load
from nip_evaluate.report.page import measure_latency
from nip_evaluate.report.summary import print_summary
from nip_evaluate.report.ui_examples import write_ui_examples
from nip_evaluate.terms.results import Evaluation
from nip_evaluate.terms.threats import Threat
from nip_export.config import ExportConfig
from nip_export.data import to_model_input
from nip_export.demo.example import Example
from nip_export.support.progress import Advance
from nip_runtime.errors import InputError
from nip_runtime.file.rates import Rate
from nip_runtime.session import DefendedSession

TEST_IMAGES, ADAPTIVE_IMAGES, SEED = 40, 8, 1


@dataclass
class Stages:
    """What whoever waits was told."""

    totals: dict[str, int] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def __call__(self, stage: str, total: int) -> Advance:
        # The evaluation passes the profile and calibration images again, under the same titles.
        self.totals[stage] = self.totals.get(stage, 0) + total

        def advance(amount: int) -> None:
            self.done[stage] += amount

        return advance


@dataclass(frozen=True)
class Demo:
    """Two runs in one folder; the files are those of the second."""

    example: Example
    paths: DemoPaths
    first: Evaluation
    second: Evaluation
    first_stages: Stages
    second_stages: Stages

    @property
    def summary(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.paths.summary.read_text(encoding="utf-8"))
        return read


@pytest.fixture(scope="module")
def demo(example: Example, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    small = replace(
        example,
        profile=example.profile.take(np.arange(600)),
        calibration=example.calibration.take(np.arange(400)),
        test=example.test.take(np.arange(TEST_IMAGES)),
    )
    config = ExportConfig(
        mean=small.mean, std=small.std, class_names=small.class_names, ascent_steps=10, seed=SEED
    )
    plan = replace(
        PLAN,
        attacks=("FGSM 8/255", "PGD 8/255"),
        adaptive_eps=(8 / 255,),
        adaptive_images=ADAPTIVE_IMAGES,
        caps={"FGSM": 30},
    )
    out = tmp_path_factory.mktemp("demo") / "made" / "here"
    stages = Stages(), Stages()
    with pytest.MonkeyPatch.context() as patch:
        # What the examples for the page are is looked at in tests/export/test_ui_examples.py.
        few = partial(write_ui_examples, images=6, steps=4)
        patch.setattr("nip_evaluate.demo.run.write_ui_examples", few)
        patch.setattr("nip_evaluate.report.ui_examples._UNIVERSAL_IMAGES", 8)
        patch.setattr("nip_evaluate.report.ui_examples.ADAPTIVE_EPS", (8,))
        patch.setattr(
            "nip_evaluate.stages.views.measure_latency", partial(measure_latency, rounds=3, runs_per_round=2)
        )
        first, second = (
            run_demo(out, seed=SEED, example=small, plan=plan, config=config, progress=progress)
            for progress in stages
        )
    return Demo(small, DemoPaths(out), first, second, *stages)


def test_it_leaves_its_files_and_finished_attacks(demo: Demo) -> None:
    paths = demo.paths
    files = {paths.model, paths.plain, paths.page, paths.numbers, paths.summary, paths.attacks}
    assert set(paths.folder.iterdir()) == files | {paths.examples}
    kept = Counter(path.name[:2] for path in paths.attacks.iterdir())
    # The third of T1 is PGD with more steps, which tells whether it was run long enough.
    assert kept == {"T1": 3, "T4": len(RECIPES)}


def test_summary_and_numbers_are_the_evaluation(demo: Demo) -> None:
    summary = demo.summary
    assert summary == json.loads(json.dumps(summarise(demo.second)))
    text = demo.paths.numbers.read_text(encoding="utf-8")
    assert load(text) == demo.second
    report = json.loads(text)
    by_name = {row["name"]: row for row in report["attacks"]}
    rows = [*summary["attacks"], *summary["adaptive"]]
    assert [row["name"] for row in rows] == list(by_name)
    for row in rows:
        defended = by_name[row["name"]]["defended"]
        assert (defended["n"], defended["value"]) == (row["n"], row["defended"])
    assert [row["n"] for row in rows] == [30, TEST_IMAGES, *[ADAPTIVE_IMAGES] * len(RECIPES)]
    assert report["subject"]["seed"] == summary["seed"] == SEED


def test_the_page_shows_the_same_numbers(demo: Demo) -> None:
    page = demo.paths.page.read_text(encoding="utf-8")
    shown = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    for row in (*demo.summary["attacks"], *demo.summary["adaptive"]):
        start = shown.index(f"{row['name']} ", shown.index("gray-box The attacker knows"))
        assert f"{row['defended']:.1%}" in shown[start : start + 500], row["name"]
    (worst,) = demo.summary["adaptive_worst"]
    assert f"leave {worst['defended']:.1%}" in shown
    for words in ("T2 transfer", "T3 query", "baselines", "quick run", "gray-box only"):
        assert words in shown, words
    assert {item.what for item in demo.second.not_measured} >= {"T2 transfer", "T3 query", "baselines"}
    # What needs no other defence is there all the same.
    assert len(demo.second.trade_offs) == 1
    assert len(demo.second.influence) == 2
    assert "data:image/png" in page
    claims = shown.replace("adversarial-robustness-toolbox", "")  # a library's name
    assert not re.search(r"robust|secure|eliminat", claims, re.IGNORECASE)


def test_the_benign_numbers_come_from_the_exported_files(demo: Demo) -> None:
    """Recounted from the two files alone."""
    test = demo.example.test
    plain = ort.InferenceSession(str(demo.paths.plain), providers=["CPUExecutionProvider"])
    (logits,) = plain.run(None, {plain.get_inputs()[0].name: to_model_input(test.images, 1)})
    with DefendedSession(demo.paths.model, device="cpu") as session:
        answers = session.predict(test.images)
    benign = demo.second.benign
    assert benign.undefended == Rate(int((logits.argmax(1) == test.labels).sum()), TEST_IMAGES)
    assert benign.defended == Rate(int((answers.labels == test.labels).sum()), TEST_IMAGES)
    assert benign.flagged == Rate(int(answers.flagged.sum()), TEST_IMAGES)


def test_the_adaptive_worst_case_is_that_of_the_kept_images(demo: Demo) -> None:
    """Recounted from the attacked images in the folder and the exported file."""
    clean, truth = demo.example.test.images[:ADAPTIVE_IMAGES], demo.example.test.labels[:ADAPTIVE_IMAGES]
    inputs = to_model_input(clean, 1)
    kept = sorted(demo.paths.attacks.glob("T4-*.npz"))
    with DefendedSession(demo.paths.model, device="cpu") as session:
        right = session.predict(clean).labels == truth
        for path in kept:
            with np.load(path) as found:
                moved = found["images"]
            assert 0 <= moved.min() <= moved.max() <= 1
            assert np.abs(moved - inputs).max() <= 8 / 255 + 1e-6
            right &= session.predict(moved).labels == truth
    (worst,) = demo.summary["adaptive_worst"]
    assert (worst["epsilon"], worst["attacks"], worst["n"]) == (8 / 255, 6, ADAPTIVE_IMAGES)
    assert worst["defended"] == right.mean()
    singles = [row["defended"] for row in demo.summary["adaptive"]]
    assert worst["defended"] <= min(singles)
    # Whoever knows the defence gets further than who does not.
    gray_box = demo.summary["attacks"][1]
    assert gray_box["name"] == "PGD 8/255"
    assert worst["defended"] < gray_box["defended"]


def test_the_attacks_work_and_the_defence_answers(demo: Demo) -> None:
    fgsm, pgd = (result for result in demo.second.attacks if result.threat is Threat.GRAY_BOX)
    assert pgd.undefended.value < 0.4
    assert pgd.defended.value > pgd.undefended.value
    assert fgsm.defended.value >= fgsm.undefended.value
    assert pgd.agreement.value >= 0.95


def test_a_second_run_attacks_nothing_and_finds_the_same(demo: Demo) -> None:
    made = [stage for stage in demo.first_stages.totals if stage.startswith("attack:")]
    assert len(made) == 3 + len(RECIPES) == 9
    assert not [stage for stage in demo.second_stages.totals if stage.startswith("attack:")]
    # Wall times of what was made before are kept; only latency and date are measured anew.
    first, second = (
        replace(run, latency=(), subject=replace(run.subject, created=""))
        for run in (demo.first, demo.second)
    )
    assert first == second


def test_every_stage_reports_progress_to_its_end(demo: Demo) -> None:
    for stages in (demo.first_stages, demo.second_stages):
        assert len(stages.totals) > 5
        assert stages.totals == dict(stages.done)


def test_the_network_is_left_as_it_was(demo: Demo) -> None:
    assert all(parameter.requires_grad for parameter in demo.example.model.parameters())
    assert all(parameter.grad is None for parameter in demo.example.model.parameters())


def test_the_terminal_shows_every_attack_and_what_it_costs(
    demo: Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "180")
    print_summary(demo.second, demo.paths)
    printed = capsys.readouterr().out
    for row in (*demo.summary["attacks"], *demo.summary["adaptive"]):
        line = next(text for text in printed.splitlines() if row["name"] in text)
        assert f"{100 * row['defended']:.1f} %" in line
    for entry in demo.summary["latency"]:
        assert f"latency at batch {entry['batch']}: {entry['ratio']:.2f} ×" in printed
    assert "T2 transfer (left out of this run)" in printed
    assert str(demo.paths.page) in printed
    assert str(demo.paths.numbers) in printed


def test_a_seed_reaches_the_export_and_is_refused_if_negative(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[ExportConfig] = []

    def stop(*given: object, config: ExportConfig, **named: object) -> NoReturn:
        configs.append(config)
        raise InterruptedError

    monkeypatch.setattr("nip_evaluate.demo.run.export_defended", stop)
    with pytest.raises(InterruptedError):
        run_demo(tmp_path, seed=7, example=example)
    (config,) = configs
    assert (config.seed, config.mean, config.class_names) == (7, example.mean, example.class_names)
    with pytest.raises(InputError, match="seed"):
        run_demo(tmp_path, seed=-1, example=example)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="folder to write to"):
        run_demo(tmp_path / "file")


def test_the_command_is_described_without_importing_torch() -> None:
    code = (
        "import argparse, sys; import nip_evaluate.commands.demo as demo; "
        "parser = argparse.ArgumentParser(); demo.configure(parser); "
        "args = parser.parse_args(['--seed', '4']); "
        "assert (str(args.out), args.seed) == ('nip-demo', 4); "
        "assert 'report.json' in parser.format_help(); "
        "assert 'torch' not in sys.modules and 'foolbox' not in sys.modules and 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
