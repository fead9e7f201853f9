"""One evaluation of every threat, recounted from what it left on the disk."""

from __future__ import annotations

import html
import io
import json
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from rich.console import Console

from nip_evaluate.baselines import VariantKind
from nip_evaluate.given.paths import EvaluationPaths
from nip_evaluate.given.store import digest_of
from nip_evaluate.report import summary
from nip_evaluate.report.numbers import load, schema_text
from nip_evaluate.stages.attackers import planned_cases
from nip_evaluate.terms.results import AttackResult, Check, NotMeasured
from nip_evaluate.terms.threats import Images, Norm, Threat
from nip_export.attach.writing import weights_digest
from nip_runtime.session import DefendedSession
from tests.evaluate.run.conftest import TEST, Made, Run


class Recount:
    """Rates counted anew: stored attacks through a session that the evaluation never saw."""

    def __init__(self, run: Run, session: DefendedSession) -> None:
        test = run.material.test_inputs((0.0, 1.0))
        self.run, self.session, self.images, self.truth = run, session, test.inputs, test.labels

    @cached_property
    def attacked(self) -> dict[str, Images]:
        found: dict[str, Images] = {}
        for threat, cases in planned_cases(self.run.plan).items():
            for case in cases:
                slug = re.sub(r"[^a-z0-9]+", "-", case.name.lower()).strip("-")
                (path,) = (self.run.out / "attacks").glob(f"{threat}-{slug}-????????????????.npz")
                with np.load(path) as stored:
                    found[case.name] = stored["images"]
        return found

    def right(self, images: Images) -> tuple[np.typing.NDArray[np.bool_], ...]:
        """Right by the raw logits, right by the defence, flagged."""
        answer, truth = self.session.predict(images), self.truth[: len(images)]
        return answer.raw_labels == truth, answer.labels == truth, answer.flagged

    def worst(self, results: list[AttackResult]) -> tuple[int, int, int]:
        """Images, how many the network answers rightly under everything, how many the defence."""
        count = min(len(self.attacked[result.name]) for result in results)
        raw, defended, _ = (part[:count] for part in self.right(self.images))
        for result in results:
            raw_then, defended_then, _ = self.right(self.attacked[result.name])
            raw, defended = raw & raw_then[:count], defended & defended_then[:count]
        return count, int(raw.sum()), int(defended.sum())


@pytest.fixture(scope="module")
def recount(finished: Run, session: DefendedSession) -> Recount:
    return Recount(finished, session)


def test_the_report_reads_back_and_keeps_to_its_schema(finished: Run) -> None:
    text = EvaluationPaths(finished.out).numbers.read_text("utf-8")
    assert load(text) == finished.evaluation
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(json.loads(text))


def test_every_threat_was_run_on_as_many_images_as_the_plan_allows(finished: Run) -> None:
    counts = {
        threat: {r.name: r.defended.n for r in finished.evaluation.attacks if r.threat is threat}
        for threat in Threat
    }
    assert counts[Threat.GRAY_BOX] == {"FGSM 8/255": TEST, "PGD 8/255": TEST, "C&W κ=0": 8}
    assert counts[Threat.TRANSFER] == {"transfer: FGSM 8/255": TEST, "transfer: PGD 8/255": TEST}
    assert set(counts[Threat.QUERY].values()) == {3}
    assert len(counts[Threat.ADAPTIVE]) == 6
    assert set(counts[Threat.ADAPTIVE].values()) == {4}


def test_rates_agree_with_a_recount_from_the_stored_attacks(finished: Run, recount: Recount) -> None:
    raw_before, _, _ = recount.right(recount.images)
    for result in finished.evaluation.attacks:
        raw, defended, flagged = recount.right(recount.attacked[result.name])
        turned = raw_before[: len(raw)] & ~raw
        assert (result.undefended.count, result.defended.count) == (raw.sum(), defended.sum()), result.name
        assert result.successes == turned.sum()
        for stated, hits in ((result.dsr, defended[turned]), (result.detected, flagged[turned])):
            assert (stated is None) == (len(hits) == 0)
            if stated is not None:
                assert (stated.count, stated.n) == (hits.sum(), len(hits)), result.name
    assert sum(result.successes for result in finished.evaluation.attacks) > TEST, "attacks did something"
    assert any(result.dsr is not None and 0 < result.dsr.value < 1 for result in finished.evaluation.attacks)


def test_stored_attacks_keep_their_budgets(finished: Run, recount: Recount) -> None:
    for result in finished.evaluation.attacks:
        change = np.abs(recount.attacked[result.name] - recount.images[: result.defended.n])
        assert change.max() > 0, result.name
        if result.norm is Norm.LINF:
            assert result.epsilon is not None
            assert change.max() <= result.epsilon + 1e-6, result.name


def test_the_benign_cost_agrees_with_a_recount(finished: Run, recount: Recount) -> None:
    raw, defended, flagged = recount.right(recount.images)
    benign = finished.evaluation.benign
    assert benign.undefended.n == TEST
    assert (benign.undefended.count, benign.defended.count) == (raw.sum(), defended.sum())
    assert benign.cost.value == pytest.approx((int(raw.sum()) - int(defended.sum())) / TEST)
    assert benign.cost.low <= benign.cost.value <= benign.cost.high
    assert benign.flagged is not None
    assert benign.flagged.count == flagged.sum() > 0
    assert benign.second_pass is not None
    assert benign.flagged.count <= benign.second_pass.count < TEST


def test_worst_cases_agree_with_a_recount(finished: Run, recount: Recount) -> None:
    assert finished.evaluation.worst_case
    for worst in finished.evaluation.worst_case:
        members = [
            result
            for result in finished.evaluation.attacks
            if result.threat in worst.threats
            and (
                worst.epsilon is None
                or (result.norm is Norm.LINF and (result.epsilon or 9) <= worst.epsilon + 1e-9)
            )
        ]
        assert worst.attacks == len(members)
        counted = recount.worst(members)
        assert counted == (worst.defended.n, worst.undefended.count, worst.defended.count)


def test_the_mean_is_over_gray_box_attacks_alone(finished: Run) -> None:
    core = [result for result in finished.evaluation.attacks if result.core]
    assert {result.threat for result in core} == {Threat.GRAY_BOX}
    rates = [result.dsr.value for result in core if result.dsr is not None]
    assert finished.evaluation.mean_dsr is not None
    assert finished.evaluation.mean_dsr.value == pytest.approx(np.mean(rates))


def test_baselines_face_the_gray_box_attacks_alone(finished: Run) -> None:
    names = {"FGSM 8/255", "PGD 8/255", "C&W κ=0"}
    baselines = finished.evaluation.baselines
    assert {baseline.name for baseline in baselines} >= {
        "JPEG quality 75",
        str(VariantKind.RANDOM_PATTERN),
        "noise odds, 1 sample",
    }
    # What takes longest is left out of a quick run, and named.
    assert "always" not in {baseline.name for baseline in baselines}
    assert "always" in {missing.what for missing in finished.evaluation.not_measured}
    for baseline in baselines:
        assert {attack.name for attack in baseline.attacks} <= names, baseline.name
        assert baseline.benign.defended.n == TEST
    drawn = {curve.name for curve in finished.evaluation.trade_offs}
    assert drawn >= {"this file", *map(str, (VariantKind.RANDOM_PATTERN, VariantKind.EARLY_ALONE))}
    (file,) = (curve for curve in finished.evaluation.trade_offs if curve.name == "this file")
    assert file.chosen is not None
    assert finished.evaluation.benign.flagged is not None
    assert file.points[file.chosen].flagged.count == finished.evaluation.benign.flagged.count


def test_all_gates_hold_and_the_twin_is_the_file(finished: Run) -> None:
    failed = {check.claim: check.detail for check in finished.evaluation.checks if not check.holds}
    assert not failed
    (twin,) = (check for check in finished.evaluation.checks if "twin" in check.claim)
    assert f"same answer {TEST} of {TEST}" in twin.detail


def test_the_subject_is_the_file_and_the_images(made: Made, finished: Run) -> None:
    subject, test = finished.evaluation.subject, made.material.test_inputs((0.0, 1.0))
    with DefendedSession(made.path, device="cpu") as session:
        digests = session.manifest.digests
    assert (subject.graph_digest, subject.weights_digest) == (digests.graph, digests.weights)
    assert subject.weights_digest == weights_digest(made.material.model)
    assert subject.test_digest == f"sha256:{digest_of(test.inputs, test.labels)}"
    assert subject.size_bytes == made.path.stat().st_size
    assert subject.classes == made.config.class_names
    assert (subject.file, subject.policy, subject.seed, subject.quick) == (
        made.path.name,
        "guarded",
        finished.plan.seed,
        True,
    )


def test_the_page_shows_the_numbers(finished: Run) -> None:
    page = EvaluationPaths(finished.out).page.read_text("utf-8")
    for threat in Threat:
        section = page.partition(f'<section id="{threat}">')[2].partition("</section>")[0]
        tables = section.partition("<details>")[0]
        results = [result for result in finished.evaluation.attacks if result.threat is threat]
        rows = re.findall(r"<tr><td>.*?</tr>", tables, re.DOTALL)
        assert len(rows) == len(results) > 0
        for row, result in zip(rows, results, strict=True):
            assert row.startswith(f"<tr><td>{html.escape(result.name)}<")
            assert f"<td>{result.defended.n}</td>" in row
            for rate in (result.undefended, result.defended, *([result.dsr] if result.dsr else [])):
                assert f"{100 * rate.value:.1f}%" in row, result.name


def test_the_terminal_shows_a_table_per_threat(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Console(width=200, record=True, file=io.StringIO())
    monkeypatch.setattr(summary, "Console", lambda: recorded)
    summary.print_summary(finished.evaluation, EvaluationPaths(finished.out))
    text = recorded.export_text()
    parts = {
        threat: text.partition(summary.TITLES[threat])[2].partition("Wilson 95 %")[0] for threat in Threat
    }
    for threat, part in parts.items():
        rows = {line.split("│")[1].strip(): line for line in part.splitlines() if line.startswith("│")}
        results = [result for result in finished.evaluation.attacks if result.threat is threat]
        assert list(rows) == [result.name for result in results]
        for result in results:
            assert summary.rate(result.undefended) in rows[result.name]
            assert summary.rate(result.defended) in rows[result.name]
    assert "gray-box only" in parts[Threat.GRAY_BOX]
    assert "DSR" not in parts[Threat.ADAPTIVE]
    assert str(EvaluationPaths(finished.out).page) in text.replace("\n", "")
    assert summary.points(finished.evaluation.benign.cost) in text


def test_failed_gates_and_odd_folders_are_shown_as_they_are(
    finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Console(width=200, record=True, file=io.StringIO())
    monkeypatch.setattr(summary, "Console", lambda: recorded)
    failed = replace(
        finished.evaluation,
        checks=(Check("It holds.", False, "3 of [red] 4"), *finished.evaluation.checks),
        not_measured=(NotMeasured("something", "it is [bold] not there"),),
    )
    summary.print_summary(failed, EvaluationPaths(Path("here/[blue]")))
    text = recorded.export_text()
    assert text.count("sanity gate failed") == 1
    assert "sanity gate failed: It holds. (3 of [red] 4)" in text
    assert "not measured: something (it is [bold] not there)" in text
    assert "report: here/[blue]/report.html" in text
