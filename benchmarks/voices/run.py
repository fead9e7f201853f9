"""Attacks on voices: python -m benchmarks.voices.run --work WORK --digits DATA --prompts FOLDER

As benchmarks/robustness/run.py does for images: the benign budget is chosen on calibration recordings so that
at most 1.5 points of accuracy are given up with 90 % confidence, a file is exported for it, and faces
attacks on the waveform: T1, T3 (labels alone) and T4. Baselines and variants get the same budget. WORK holds
the weights (benchmarks.voices.train); finished attacks are kept there. Writes
benchmarks/results/voices/NAME.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from benchmarks.robustness.run import MAIN, REMADE, commit, row_of
from benchmarks.voices.corpora import RATE, Corpus, Recordings, load_voices
from benchmarks.voices.networks import FACTORIES, Kind
from benchmarks.voices.train import accuracy, weights_path
from nip_evaluate.baselines import Laboratory, VariantKind, odds_name
from nip_evaluate.given.material import Material
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.given.store import AttackStore
from nip_evaluate.run import run_evaluation
from nip_evaluate.terms.threats import Threat
from nip_export.config import ExportConfig
from nip_export.data import ImageSet, sound_input
from nip_export.fit.benign import at_the_door
from nip_export.pipeline import prepare_defence, write_defended
from nip_export.support.progress import Progress, progress_bars
from nip_runtime.support.writing import write_whole

RESULTS = Path(__file__).resolve().parent.parent / "results" / "voices"
ATTACKED = 100
CAPS = {"C&W": 30, "T3": 10, "T4": 12}
BOUNDS = (-1.0, 1.0)
RHO_EPS = 0.005
"""Bound of the inverse perturbation, in full scale: as large as the largest change that attacks may make."""
ASCENT_STEPS = 60
PLAN = EvaluationPlan(
    threats=(Threat.GRAY_BOX, Threat.QUERY, Threat.ADAPTIVE),
    images=ATTACKED,
    caps=CAPS,
    without=(*map(str, REMADE), odds_name(16)),
)


def load_network(work: Path, corpus: Corpus, kind: Kind) -> nn.Module:
    """A trained network."""
    model = FACTORIES[kind](len(corpus.names))
    model.load_state_dict(safetensors.torch.load_file(weights_path(work, corpus, kind)))
    return model.eval()


def evaluate(work: Path, corpus: Corpus, kind: Kind, folder: Path, progress: Progress) -> Path:
    """Export and evaluate one network; returns where the results are."""
    splits, name = load_voices(corpus, folder), f"{corpus}-{kind}"

    def labelled(data: Recordings) -> ImageSet:
        return ImageSet(data.samples, data.labels, corpus.names, BOUNDS)

    model = load_network(work, corpus, kind)
    profile, calibration = labelled(splits.profile), labelled(splits.calibration)
    material = Material(model=model, test=labelled(splits.test), profile=profile, calibration=calibration)
    prepared = prepare_defence(
        model,
        profile.images,
        profile.labels,
        calibration=(calibration.images, calibration.labels),
        config=ExportConfig(
            bounds=BOUNDS,
            eps=RHO_EPS,
            ascent_steps=ASCENT_STEPS,
            sound=sound_input(RATE, corpus.length).sound,
            class_names=corpus.names,
        ),
        progress=progress,
    )
    path = work / f"{name}.nip.onnx"
    probe = write_defended(prepared, path)
    laboratory = Laboratory(
        model,
        at_the_door(profile),
        prepared.bench.calibration,
        prepared.bench.config,
        given=probe.spec,
        rho=prepared.rho,
        progress=progress,
    )
    budget = laboratory.budget_for_cost(VariantKind.FILE, MAIN)
    report = write_defended(prepared, path, benign_budget=budget)
    print(f"{name}:\n{report.summary()}", flush=True)
    evaluation = run_evaluation(
        path,
        material,
        work / name,
        plan=PLAN,
        laboratory=laboratory,
        store=AttackStore(work / "attacks"),
        progress=progress,
    )
    content = {
        "network": name,
        "commit": commit(),
        "recordings": {part: len(found.labels) for part, found in vars(splits).items()},
        "training_accuracy": accuracy(model, splits.training),
        "view": [str(step) for step in report.spec.view],
        "rho": report.spec.bank.adds,
        "row": row_of(MAIN, budget, evaluation),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    out = RESULTS / f"{name}.json"
    write_whole(out, (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
    print(f"{name}: mean DSR {evaluation.mean_dsr}", flush=True)
    return out


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder with the trained weights")
    parser.add_argument("--digits", type=Path, help="folder of spoken-digits.npz")
    parser.add_argument("--prompts", type=Path, help="folder of the unpacked Debian packages")
    parser.add_argument("--kinds", type=Kind, nargs="+", default=list(Kind), choices=list(Kind))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for corpus, folder in ((Corpus.DIGITS, options.digits), (Corpus.PROMPTS, options.prompts)):
        for kind in options.kinds if folder is not None else ():
            with progress_bars() as progress:
                out = evaluate(options.work, corpus, kind, folder, progress)
            print(out, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
