"""Scores the attacks that a run has finished so far: python -m benchmarks.voices.part --work WORK …

No attack is made and no variant of the defence: the exported file, and transformations that need no
calibration, answer what benchmarks/voices/run.py has kept in WORK. Writes
benchmarks/results/voices/NAME-part.json, which the tables show until NAME.json is there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.robustness.run import MAIN
from benchmarks.voices.corpora import RATE, Corpus, load_voices
from benchmarks.voices.networks import Kind
from benchmarks.voices.run import BOUNDS, PLAN, RESULTS, load_network
from nip_evaluate.baselines import logits_of, network_labels, transform_defences
from nip_evaluate.given.store import AttackStore, digest_of
from nip_evaluate.given.target import Undefended
from nip_evaluate.scoring import Outcome, mean_dsr, score_benign, worst_cases
from nip_evaluate.scoring.scores import lead, signal_to_change_db
from nip_evaluate.stages.attackers import planned_cases
from nip_evaluate.terms.answers import Answers, Defence
from nip_evaluate.terms.results import Estimate
from nip_evaluate.terms.threats import Images, Threat
from nip_export.attach.writing import weights_digest
from nip_export.data import sound_input
from nip_export.network.run import tapped_network
from nip_runtime.session import DefendedSession
from nip_runtime.support.writing import write_whole

FILE = "this file"
RIVALS = ("median 3", "median 5", "8-bit rounding", "bit depth 5")


def score(work: Path, corpus: Corpus, kind: Kind, folder: Path, commit: str) -> Path:
    """Score one network; returns where the results are."""
    name, test = f"{corpus}-{kind}", load_voices(corpus, folder).test
    model = load_network(work, corpus, kind).requires_grad_(False)
    example = torch.from_numpy(test.samples[:2].copy())
    network = Undefended(tapped_network(model, example, [], mean=None, std=None).eval()).eval()
    labels_of, victim = network_labels(logits_of(network)), weights_digest(network)
    transforms, _ = transform_defences(labels_of, test.samples.shape[1:], BOUNDS)
    store, spec = AttackStore(work / "attacks"), sound_input(RATE, corpus.length)
    made: list[dict[str, Any]] = []
    missing: list[str] = []
    with DefendedSession(work / f"{name}.nip.onnx", device="cpu") as session:
        defences = [_of_file(session), *(one for one in transforms if one.name in RIVALS)]
        benign = {one.name: one.answer(test.samples) for one in defences}
        outcomes: dict[str, list[Outcome]] = {one.name: [] for one in defences}
        for case in planned_cases(PLAN, spec)[Threat.GRAY_BOX]:
            count = min(case.images or PLAN.images or len(test.labels), PLAN.images or len(test.labels))
            clean, truth = test.samples[:count], test.labels[:count]
            path = store.path(case, victim=victim, images=digest_of(clean, truth), seed=PLAN.seed)
            if not path.exists():
                missing.append(case.name)
                continue
            with np.load(path) as stored:
                attacked = stored["images"]
            for one in defences:
                answers = one.answer(attacked)
                outcome = Outcome.of(case, truth=test.labels, benign=benign[one.name], answers=answers)
                outcomes[one.name].append(outcome)
            ratios = signal_to_change_db(attacked, clean)
            made.append(
                _row(outcomes, case.name, case.core, float(np.median(ratios)) if len(ratios) else None)
            )
        manifest = session.manifest
        planned = planned_cases(PLAN, manifest.input)
        adaptive: list[Outcome] = []
        query: list[Outcome] = []
        for case in (*planned[Threat.QUERY], *planned[Threat.ADAPTIVE]):
            count = min(case.images or len(test.labels), PLAN.images or len(test.labels))
            clean, truth = test.samples[:count], test.labels[:count]
            path = store.path(
                case, victim=manifest.digests.graph, images=digest_of(clean, truth), seed=PLAN.seed
            )
            if path.exists():
                with np.load(path) as stored:
                    answers = defences[0].answer(stored["images"])
                outcome = Outcome.of(case, truth=test.labels, benign=benign[FILE], answers=answers)
                (query if case.threat is Threat.QUERY else adaptive).append(outcome)
    gate, ours = manifest.gate, outcomes[FILE]
    assert gate is not None
    costs = {one: score_benign(found, test.labels, second_pass=None) for one, found in benign.items()}
    content = {
        "network": name,
        "commit": commit,
        "limit": MAIN,
        "benign_budget": manifest.calibration.benign_budget,
        "view": [*map(str, gate.view), *(["rho"] if gate.rho else [])],
        "benign": len(test.labels),
        "accuracy": costs[FILE].undefended.count,
        "defences": {
            one: {
                "cost": costs[one].cost.value,
                "mean_dsr": _plain(mean_dsr(found)),
                "file_leads_by": None if one == FILE else _plain(lead(ours, found)),
            }
            for one, found in outcomes.items()
        },
        "attacks": made,
        "missing": missing,
        "adaptive": _worst(adaptive),
        "adaptive_missing": len(planned[Threat.ADAPTIVE]) - len(adaptive),
        "query": [
            {"name": one.case.name, "right": int(one.right.sum()), "recordings": len(one)} for one in query
        ],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    out = RESULTS / f"{name}-part.json"
    write_whole(out, (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
    return out


def _worst(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """What adaptive attacks leave right within an ε: of each recording the worst of those that were made."""
    return [
        {
            "epsilon": case.epsilon,
            "attacks": case.attacks,
            "right": case.defended.count,
            "recordings": case.defended.n,
        }
        for case in worst_cases(outcomes)
        if outcomes and case.epsilon is not None
    ]


def _of_file(session: DefendedSession) -> Defence:
    def answer(samples: Images) -> Answers:
        found = session.predict(samples)
        return Answers(found.labels, found.raw_labels, found.flagged, found.suspicion)

    return Defence(name=FILE, description="", passes=2, answer=answer)


def _row(outcomes: dict[str, list[Outcome]], name: str, core: bool, snr_db: float | None) -> dict[str, Any]:
    """Counts of one attack, the last of the outcomes."""
    file = outcomes[FILE][-1]
    flagged = file.answers.flagged
    assert flagged is not None
    return {
        "name": name,
        "core": core,
        "snr_db": snr_db,
        "recordings": len(file),
        "undefended": int(file.raw_right.sum()),
        "defended": int(file.right.sum()),
        "successes": int(file.successful.sum()),
        "detected": int(flagged[file.successful].sum()),
        "repaired": {one: int(found[-1].repaired.sum()) for one, found in outcomes.items()},
    }


def _plain(value: Estimate | None) -> dict[str, float] | None:
    return None if value is None else {"value": value.value, "low": value.low, "high": value.high}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of a run")
    parser.add_argument("--digits", type=Path, help="folder of spoken-digits.npz")
    parser.add_argument("--prompts", type=Path, help="folder of the unpacked Debian packages")
    parser.add_argument("--commit", required=True, help="what the files were exported with")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for corpus, folder in ((Corpus.DIGITS, options.digits), (Corpus.PROMPTS, options.prompts)):
        for kind in Kind if folder is not None else ():
            if (options.work / f"{corpus}-{kind}.nip.onnx").exists():
                print(score(options.work, corpus, kind, folder, options.commit), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
