"""The whole demo in a small form: fewer images, two attacks, a short ascent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

from nip_export.config import ExportConfig
from nip_export.data import to_model_input
from nip_export.demo.adaptive import AdaptiveCase, attack_defence
from nip_export.demo.attacks import CASES
from nip_export.demo.example import Example
from nip_export.demo.run import DemoPaths, run_demo
from nip_export.demo.scores import DemoScores
from nip_export.demo.table import accuracy_table, cost_lines
from nip_runtime.errors import InputError
from nip_runtime.session import DefendedSession

TEST_IMAGES = 40
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Checks nesting and collects what a browser would fetch, and the text it would show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.images = 0
        self.shown = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.images += tag == "img"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                self.fetched.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_endtag(self, tag: str) -> None:
        # <li> and the like may stay open in HTML, but the template closes everything.
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.shown += data


@pytest.fixture(scope="module")
def demo(example: Example, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    small = replace(
        example,
        profile=example.profile.take(np.arange(600)),
        calibration=example.calibration.take(np.arange(400)),
        test=example.test.take(np.arange(TEST_IMAGES)),
    )
    out = tmp_path_factory.mktemp("demo") / "made" / "here"
    stages: list[tuple[str, int]] = []
    done: dict[str, int] = {}

    def progress(stage: str, total: int):  # type: ignore[no-untyped-def]
        stages.append((stage, total))

        def advance(steps: int) -> None:
            done[stage] = done.get(stage, 0) + steps

        return advance

    config = ExportConfig(
        mean=small.mean, std=small.std, class_names=small.class_names, ascent_steps=10, seed=1
    )
    cases = (CASES[0], replace(CASES[1], restarts=0, images=30))
    moved: list[npt.NDArray[np.float32]] = []

    def spy(case: AdaptiveCase, *args: Any, **named: Any) -> npt.NDArray[np.float32]:
        moved.append(attack_defence(replace(case, steps=12), *args, **named))
        return moved[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nip_export.demo.run.attack_defence", spy)
        scores = run_demo(out, seed=1, example=small, cases=cases, config=config, progress=progress)
    return SimpleNamespace(
        scores=scores, paths=DemoPaths(out), stages=stages, done=done, example=small, adaptive=moved
    )


def test_it_leaves_exactly_its_four_files(demo: SimpleNamespace) -> None:
    paths = demo.paths
    assert set(paths.folder.iterdir()) == {paths.model, paths.plain, paths.summary, paths.report}


def test_the_summary_is_what_the_table_is_printed_from(demo: SimpleNamespace) -> None:
    from rich.console import Console

    summary = json.loads(demo.paths.summary.read_text(encoding="utf-8"))
    scores: DemoScores = demo.scores
    assert summary == json.loads(json.dumps(scores.to_summary()))
    console = Console(width=140, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(accuracy_table(scores))
    console.file.close()
    printed = console.export_text()
    for row in summary["attacks"]:
        line = next(text for text in printed.splitlines() if row["name"] in text)
        assert f"{row['undefended']:.1%}" in line
        assert f"{row['defended']:.1%}" in line
    assert f"{summary['latency_ratio']:.2f} ×" in cost_lines(scores)[1]


def test_the_numbers_come_from_the_exported_files(demo: SimpleNamespace) -> None:
    """Recount benign accuracy from the two files alone."""
    test = demo.example.test
    inputs = to_model_input(test.images, 1)
    plain = ort.InferenceSession(str(demo.paths.plain), providers=["CPUExecutionProvider"])
    (logits,) = plain.run(None, {plain.get_inputs()[0].name: inputs})
    with DefendedSession(demo.paths.model, device="cpu") as session:
        defended = session.predict(test.images)
    benign = demo.scores.benign
    assert benign.undefended.count == int((logits.argmax(1) == test.labels).sum())
    assert benign.defended.count == int((defended.labels == test.labels).sum())
    assert benign.defended.n == TEST_IMAGES
    assert [score.defended.n for score in demo.scores.attacks] == [TEST_IMAGES, 30]


def test_the_network_is_left_as_it_was(demo: SimpleNamespace) -> None:
    assert all(parameter.requires_grad for parameter in demo.example.model.parameters())
    assert all(parameter.grad is None for parameter in demo.example.model.parameters())


def test_the_attacks_work_and_the_defence_answers(demo: SimpleNamespace) -> None:
    fgsm, pgd = demo.scores.attacks
    assert pgd.undefended.value < 0.4
    assert pgd.defended.value > pgd.undefended.value
    assert fgsm.defended.value >= fgsm.undefended.value
    assert pgd.agreement.value >= 0.95


def test_the_adaptive_attack_stays_within_its_budget_and_leaves_less_than_the_gray_box_one(
    demo: SimpleNamespace,
) -> None:
    """Recounted from the images and the exported file; only the PGD that was run has an adaptive partner."""
    (score,), (moved,) = demo.scores.adaptive, demo.adaptive
    test = demo.example.test
    assert score.case.name == "adaptive PGD 8/255"
    assert score.defended.n == len(moved) == 30
    assert 0 <= moved.min() <= moved.max() <= 1
    change = np.abs(moved - to_model_input(test.images[:30], 1)).max()
    assert 0.5 * score.case.epsilon < change <= score.case.epsilon + 1e-6
    with DefendedSession(demo.paths.model, device="cpu") as session:
        answers = session.predict(moved)
    assert score.defended.count == int((answers.labels == test.labels[:30]).sum())
    assert score.defended.value < score.gray_box.value


def test_latency_is_measured_at_both_batch_sizes(demo: SimpleNamespace) -> None:
    one, many = demo.scores.latency
    assert (one.batch, many.batch) == (1, 32)
    for entry in (one, many):
        assert entry.plain_ms > 0
        # How large they are is for benchmarks to say: other work on the machine must not fail a test.
        assert entry.defended_ms > 0 and entry.ratio > 0


def test_every_stage_reports_progress_to_its_end(demo: SimpleNamespace) -> None:
    assert len(demo.stages) > 5
    assert {stage: total for stage, total in demo.stages if demo.done.get(stage) != total} == {}


def test_the_report_fetches_nothing_and_is_well_formed(demo: SimpleNamespace) -> None:
    text = demo.paths.report.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.images > 0
    assert page.images % 5 == 0
    assert all(value.startswith(("data:", "#")) for value in page.fetched), page.fetched
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "<script" not in text


def test_the_report_says_what_is_not_stopped_and_claims_nothing_forbidden(demo: SimpleNamespace) -> None:
    shown = " ".join(Page(demo.paths.report.read_text(encoding="utf-8")).shown.split())
    assert "What this does not stop" in shown
    assert "nothing is claimed" in shown
    assert "gray-box only" in shown
    assert not re.search(r"robust|secure|eliminat", shown, re.IGNORECASE)
    for score in demo.scores.attacks:
        assert score.case.settings in shown
        assert f"{score.defended.value:.1%}" in shown


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="folder to write to"):
        run_demo(tmp_path / "file")


def test_the_command_is_described_without_importing_torch() -> None:
    code = (
        "import argparse, sys; import nip_export.commands.demo as demo; "
        "parser = argparse.ArgumentParser(); demo.configure(parser); "
        "args = parser.parse_args(['--seed', '4']); "
        "assert (str(args.out), args.seed) == ('nip-demo', 4); "
        "assert 'torch' not in sys.modules and 'foolbox' not in sys.modules and 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
