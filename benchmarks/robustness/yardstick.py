"""What training buys: the core attacks on a network trained on PGD examples, which has no defence to know.

    python -m benchmarks.robustness.train --kind vgg --seeds 1 --adversarial --out WORK
    python -m benchmarks.robustness.yardstick --work WORK --network vgg-1-pgd

For such a network the gray-box attacks *are* the adaptive ones. Writes results/robustness/NETWORK.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.robustness.run import ATTACKED, LEAN_CAPS, RESULTS, Folders, commit, load_network
from benchmarks.robustness.splits import load_splits
from nip_evaluate.attacks import catalogue, select
from nip_evaluate.baselines import logits_of, network_labels
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.given.store import AttackStore
from nip_evaluate.given.subject import machine
from nip_evaluate.given.target import Undefended
from nip_evaluate.stages.craft import Crafter
from nip_evaluate.terms.threats import Images, Labels
from nip_export.data import to_model_input
from nip_export.demo.build_assets import DATA_DIR
from nip_export.demo.model import MEAN, STD
from nip_export.network.run import tapped_network
from nip_export.support.progress import progress_bars
from nip_runtime.file.rates import Rate
from nip_runtime.support.writing import write_whole


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder with the trained weights")
    parser.add_argument("--network", default="vgg-1-pgd")
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="folder of the four idx .gz files")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    splits, plan = load_splits(options.data), EvaluationPlan(caps=LEAN_CAPS)
    images, labels = to_model_input(splits.test.images, 1), splits.test.labels
    everything = np.concatenate([images, to_model_input(splits.further.images, 1)])
    truth = np.concatenate([labels, splits.further.labels])
    model = load_network(Folders(options.work, options.data, None), options.network).requires_grad_(False)
    network = Undefended(
        tapped_network(model, torch.from_numpy(images[:2]), [], mean=MEAN, std=STD).eval()
    ).eval()
    answer = network_labels(logits_of(network))

    def accuracy(shown: Images, classes: Labels) -> dict[str, float]:
        rate = Rate(int((answer(shown) == classes).sum()), len(classes))
        low, high = rate.interval
        return {"count": rate.count, "n": rate.n, "value": rate.value, "low": low, "high": high}

    with progress_bars() as progress:
        store = AttackStore(options.work / "attacks")
        crafter = Crafter(store, images[:ATTACKED], labels[:ATTACKED], plan.seed, progress)
        cases = [plan.capped(case) for case in select(["core"], catalogue())]
        attacked = crafter.craft(cases, network)
    content = {
        "network": options.network,
        "commit": commit(),
        "machine": machine(),
        "benign": accuracy(everything, truth),
        "attacks": [
            {"name": made.case.name, "accuracy": accuracy(made.images, labels[: len(made.images)])}
            for made in attacked
        ],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_whole(
        RESULTS / f"{options.network}.json",
        (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(),
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
