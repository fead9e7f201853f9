"""The short form: every number where it belongs, and nothing made up where there is none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nip_evaluate.demo.summary import summarise
from nip_evaluate.terms.results import Evaluation
from nip_evaluate.terms.threats import Threat
from tests.evaluate.page import synthetic


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return synthetic.full()


def test_the_shares_are_those_of_the_evaluation(evaluation: Evaluation) -> None:
    summary = json.loads(json.dumps(summarise(evaluation), allow_nan=False))
    benign = evaluation.benign
    assert benign.flagged is not None and benign.false_corrections is not None
    assert summary["benign"] == {
        "undefended": benign.undefended.value,
        "defended": benign.defended.value,
        "n": benign.defended.n,
        "intervals": {
            "undefended": list(benign.undefended.interval),
            "defended": list(benign.defended.interval),
        },
        "flagged": benign.flagged.value,
        "false_corrections": benign.false_corrections.value,
    }
    by_name = {result.name: result for result in evaluation.attacks}
    for row in (*summary["attacks"], *summary["adaptive"]):
        result = by_name[row["name"]]
        assert (row["settings"], row["n"]) == (result.settings, result.defended.n)
        assert row["defended"] == result.defended.value
        assert row["intervals"]["defended"] == list(result.defended.interval)
        assert result.detected is not None
        assert row["detected"] == result.detected.value
    assert summary["latency_ratio"] == evaluation.latency[0].ratio
    assert [entry["batch"] for entry in summary["latency"]] == [1, 8, 32]
    assert (summary["policy"], summary["seed"]) == ("guarded", 0)


def test_threat_models_stand_apart(evaluation: Evaluation) -> None:
    summary = summarise(evaluation)
    for key, threat in (("attacks", Threat.GRAY_BOX), ("adaptive", Threat.ADAPTIVE)):
        assert summary["threat_models"][key].startswith(threat)
        wanted = [result.name for result in evaluation.attacks if result.threat is threat]
        assert [row["name"] for row in summary[key]] == wanted


def test_the_worst_case_is_per_size_and_of_adaptive_attacks_alone(evaluation: Evaluation) -> None:
    (given,) = [w for w in evaluation.worst_case if w.threats == (Threat.ADAPTIVE,)]
    small, large = replace(given, epsilon=8 / 255), replace(given, epsilon=25 / 255, attacks=10)
    others = tuple(w for w in evaluation.worst_case if w is not given)
    every = (*others, small, large, replace(given, epsilon=None))
    rows = summarise(replace(evaluation, worst_case=every))["adaptive_worst"]
    assert [(row["epsilon"], row["attacks"]) for row in rows] == [
        (8 / 255, given.attacks),
        (25 / 255, 10),
    ]
    assert rows[0]["defended"] == given.defended.value
    assert rows[0]["intervals"]["defended"] == given.defended.interval
    assert rows[0]["n"] == given.defended.n


def test_what_cannot_be_had_is_null(evaluation: Evaluation) -> None:
    bare = replace(
        evaluation,
        benign=replace(evaluation.benign, flagged=None, false_corrections=None),
        attacks=tuple(replace(result, dsr=None, detected=None) for result in evaluation.attacks),
    )
    summary = json.loads(json.dumps(summarise(bare), allow_nan=False))
    assert summary["benign"]["flagged"] is None
    first = summary["attacks"][0]
    assert first["dsr"] is None
    assert first["intervals"]["dsr"] is None
    assert first["intervals"]["defended"] is not None
