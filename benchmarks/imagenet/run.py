"""The exported file on 200 photographs that it never saw, and on attacks on the first of them.

    python -m benchmarks.imagenet.export --data DATA --work WORK
    python -m benchmarks.imagenet.craft --data DATA --work WORK
    python -m benchmarks.imagenet.run --data DATA --work WORK [--adaptive 100]

Attacks that were not crafted are named as not measured. Writes benchmarks/results/imagenet/lite0.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from benchmarks.imagenet.attacks import cases
from benchmarks.imagenet.craft import SEED, crafter_of, quick, undefended
from benchmarks.imagenet.export import BUDGETS, FILE, MADE, PLAIN, file_of
from benchmarks.imagenet.networks import SIZE, Network, load_network
from benchmarks.imagenet.photographs import load_photographs, parser_of
from nip_evaluate.adaptive import adaptive_cases
from nip_evaluate.baselines.transforms import transform_defences
from nip_evaluate.given.store import AttackStore, digest_of
from nip_evaluate.given.target import open_target
from nip_evaluate.scoring import Outcome, mean_dsr, score_attack, score_baseline, score_benign
from nip_evaluate.terms.answers import Answers
from nip_evaluate.terms.threats import AttackCase, Attacked, Images, Labels, Threat
from nip_export.attach.writing import weights_digest
from nip_export.commands.threads import keep_freed_memory
from nip_export.fit.benign import Benign, at_the_door
from nip_runtime.file.manifest.model import plain as as_json
from nip_runtime.session import DefendedSession
from nip_runtime.support.writing import write_whole

RESULTS = Path(__file__).resolve().parent.parent / "results" / "imagenet" / "lite0.json"
AT_ONCE = 16
BASELINES = ("JPEG quality 75", "JPEG quality 50", "median 3×3", "bit depth 3")
"""Transformations in front of the network that are compared: of each family what repairs most elsewhere."""
ADAPTIVE_EPS = (2 / 255,)


def in_batches(answer: Callable[[Images], Labels]) -> Callable[[Images], Labels]:
    """The same a few photographs at a time."""

    def answers(images: Images) -> Labels:
        return np.concatenate(
            [answer(images[first : first + AT_ONCE]) for first in range(0, len(images), AT_ONCE)]
        )

    return answers


def plain_labels(path: Path, threads: int) -> Callable[[Images], Labels]:
    """Labels of the undefended network, from its plain file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def labels(images: Images) -> Labels:
        found: Labels = session.run(None, {name: images})[0].argmax(1)
        return found

    return in_batches(labels)


def file_answers(session: DefendedSession, images: Images) -> Answers:
    """The file's answers."""
    found = session.predict(images)
    return Answers(found.labels, found.raw_labels, found.flagged, found.suspicion)


def crafted(work: Path, test: Benign) -> tuple[list[Attacked], list[str]]:
    """The attacks that there are on the photographs, and the names of those that there are not."""
    crafter, store = crafter_of(work, test), AttackStore(work / "attacks")
    found: list[Attacked] = []
    missing: list[str] = []
    for network, transfer in ((Network.LITE0, False), (Network.LITE1, True)):
        victim = undefended(load_network(network), test).eval()
        digest = weights_digest(victim)
        for case in cases(transfer=transfer):
            count = case.images
            path = store.path(
                case, victim=digest, images=digest_of(test.inputs[:count], test.labels[:count]), seed=SEED
            )
            if path.is_file():
                found += crafter.craft([case], victim)
            else:
                missing.append(case.name)
    return found, missing


def adaptive(work: Path, test: Benign, images: int) -> list[Attacked]:
    """Attacks through the whole defence, on the first photographs."""
    target = open_target(work / FILE, quick(load_network(Network.LITE0)), test.inputs[:2])
    crafter = crafter_of(work, test)
    chosen: Sequence[AttackCase] = adaptive_cases(ADAPTIVE_EPS, quick=True, images=images)
    digest = target.manifest.digests.graph
    return [made for case in chosen for made in crafter.craft([case], target.twin, victim_digest=digest)]


def detected_of(rows: Sequence[dict[str, Any]]) -> float:
    """Mean share of what fools the network that the file flags, over the attacks that count."""
    found = [row["detected"]["value"] for row in rows if row["core"] and row["detected"] is not None]
    return float(np.mean(found))


def with_budget(
    work: Path, budget: float, attacked: Sequence[Attacked], test: Benign, threads: int
) -> dict[str, Any]:
    """What the file of another benign budget makes of the same photographs and attacks."""
    labels = plain_labels(work / PLAIN, threads)
    with DefendedSession(work / file_of(budget), device="cpu", threads=threads, max_batch=AT_ONCE) as session:
        benign = file_answers(session, test.inputs)
        outcomes = [
            Outcome.of(
                made.case, truth=test.labels, benign=benign, answers=file_answers(session, made.images)
            )
            for made in attacked
            if made.case.threat is Threat.GRAY_BOX
        ]
    made_on = [made for made in attacked if made.case.threat is Threat.GRAY_BOX]
    rows = [row_of(outcome, made, test, labels) for outcome, made in zip(outcomes, made_on, strict=True)]
    result = score_benign(benign, test.labels, second_pass=None)
    return {
        "benign_budget": budget,
        "cost": as_json(result.cost),
        "flagged_correct": as_json(result.flagged_correct),
        "mean_dsr": as_json(mean_dsr(outcomes)),
        "mean_detected": detected_of(rows),
        "attacks": [{what: row[what] for what in ("name", "detected", "dsr")} for row in rows],
    }


def row_of(outcome: Outcome, made: Attacked, test: Benign, labels: Callable[[Images], Labels]) -> Any:
    """What became of one attack."""
    fooled = labels(made.images) != test.labels[: len(made.images)]
    result = score_attack(outcome, attacked=made, clean=test.inputs, fooled_torch=fooled)
    return {
        "name": result.name,
        "threat": str(result.threat),
        "settings": result.settings,
        "core": result.core,
        "images": len(made.images),
        "undefended": as_json(result.undefended),
        "defended": as_json(result.defended),
        "successes": result.successes,
        "dsr": as_json(result.dsr),
        "detected": as_json(result.detected),
        "mean_linf": result.mean_linf,
        "mean_l2": result.mean_l2,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__, work="folder of file and attacks")
    parser.add_argument("--adaptive", type=int, default=0, metavar="N", help="photographs for T4 (default 0)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of onnxruntime (default 1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    work: Path = options.work
    test = at_the_door(load_photographs(options.data, SIZE).test)
    attacked, missing = crafted(work, test)
    if options.adaptive:
        attacked += adaptive(work, test, options.adaptive)
    else:
        missing.append("T4")
    labels = plain_labels(work / PLAIN, options.threads)
    with DefendedSession(work / FILE, device="cpu", threads=options.threads, max_batch=AT_ONCE) as session:
        manifest = session.manifest
        benign = file_answers(session, test.inputs)
        outcomes = [
            Outcome.of(
                made.case, truth=test.labels, benign=benign, answers=file_answers(session, made.images)
            )
            for made in attacked
        ]
    rows = [row_of(outcome, made, test, labels) for outcome, made in zip(outcomes, attacked, strict=True)]
    for row in rows:
        print(row["name"], row["detected"], row["dsr"], flush=True)
    gray = [one for one in outcomes if one.case.threat is Threat.GRAY_BOX]
    others = []
    for defence in transform_defences(labels, test.inputs.shape[1:])[0]:
        if defence.name not in BASELINES:
            continue
        own = defence.answer(test.inputs)
        scored = score_baseline(
            defence,
            variant=False,
            benign=score_benign(own, test.labels, second_pass=None),
            file=gray,
            baseline=[
                Outcome.of(made.case, truth=test.labels, benign=own, answers=defence.answer(made.images))
                for made in attacked
                if made.case.threat is Threat.GRAY_BOX
            ],
        )
        assert scored.mean_dsr is not None and scored.lead is not None
        others.append(
            {
                "name": scored.name,
                "cost": as_json(scored.benign.cost),
                "mean_dsr": as_json(scored.mean_dsr),
                "lead": as_json(scored.lead),
            }
        )
    result = score_benign(benign, test.labels, second_pass=None)
    detected = detected_of(rows)
    content = {
        "network": str(Network.LITE0),
        "classes": manifest.output.classes,
        "export": json.loads((work / MADE).read_text()),
        "manifest": json.loads(manifest.to_json()),
        "benign": {
            "undefended": as_json(result.undefended),
            "defended": as_json(result.defended),
            "cost": as_json(result.cost),
            "flagged": as_json(result.flagged),
            "flagged_correct": as_json(result.flagged_correct),
        },
        "mean_dsr": as_json(mean_dsr(gray)),
        "mean_detected": detected,
        "budgets": [with_budget(work, budget, attacked, test, options.threads) for budget in BUDGETS[1:]],
        "attacks": rows,
        "baselines": others,
        "not_measured": missing,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    write_whole(RESULTS, (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
    print(f"mean detected {detected:.3f}, mean DSR {mean_dsr(gray)}, {result}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
