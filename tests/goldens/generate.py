"""Writes the golden files: small defended models and what they answered when they were made.

    python -m tests.goldens.generate [FOLDER] [--anew]

``NAME.onnx`` stands beside ``NAME.npz`` with `images` (uint8, half of them attacked) and, named as in
`nip_runtime.Prediction`, the answers. There is one of every policy, and one of every view in :data:`VIEWS`.
The tests of the runtime run them where torch is not installed, so an older file that a newer runtime reads
otherwise shows at once.

``NAME-1.2`` are those of manifest 1.2, whose screen looks at disagreement and whose second pass adds the
inverse perturbation to the input itself. No exporter writes such files any more: they are kept as they were.

Training and attack end elsewhere on another processor, because rounding errors grow with every step. So their
results are kept in ``start.safetensors``; ``--anew`` makes them again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack
from foolbox.models.pytorch import PyTorchModel
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from nip_export import ExportConfig, export_defended
from nip_export.demo.example import Example, load_example
from nip_runtime.file.manifest import Policy
from nip_runtime.session import DefendedSession

START = Path(__file__).parent / "start.safetensors"
SEED = 20
STEPS = 300
BATCH = 64
EACH = 24
"""Benign images in a golden file, and attacked ones."""
ATTACK_EPS = 24 / 255
MEAN, STD = (0.286,), (0.353,)
VIEWS = {
    "mirror-median": "mirror+median",
    "shift": "shift",
    "blur-gain-bits-rho": "blur+gain+bits+rho",
    "jpeg75-mirror": "jpeg75+mirror",
}
"""Golden files of policy guarded by their views, which are named, not chosen; those named by a policy have a
shift. Together they have every step, of JPEG one quality."""
POLICY = {**{policy.value: policy for policy in Policy}, **dict.fromkeys(VIEWS, Policy.GUARDED)}
"""The policy of every file that the generator writes, by its name."""


class GoldenNet(nn.Module):
    """Three convolutions and a linear layer: 4 thousand parameters, 17 kB."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, 2, 1),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of normalised images (N, 1, 28, 28)."""
        logits: Tensor = self.classifier(self.features(x).amax((2, 3)))
        return logits


def train(example: Example) -> GoldenNet:
    """A few seconds on the profile images."""
    inputs = torch.from_numpy(example.profile.images.astype(np.float32) / 255)[:, None]
    inputs = (inputs - MEAN[0]) / STD[0]
    labels = torch.from_numpy(example.profile.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = GoldenNet().train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=STEPS, pct_start=0.2)
        for _ in range(STEPS):
            rows = torch.randint(len(inputs), (BATCH,))
            loss = F.cross_entropy(model(inputs[rows]), labels[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
            optimiser.step()
            schedule.step()
    return model.eval()


def attacked(model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The images under PGD on the undefended network, rounded to whole grey levels."""
    victim = PyTorchModel(
        model,
        bounds=(0, 1),
        preprocessing={"mean": MEAN, "std": STD, "axis": -3},
        device=torch.device("cpu"),
    )
    attack = LinfProjectedGradientDescentAttack(steps=50, rel_stepsize=0.1, random_start=True)
    floats = torch.from_numpy(images.astype(np.float32) / 255)[:, None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        _, moved, _ = attack(victim, floats, torch.from_numpy(labels), epsilons=ATTACK_EPS)
    levels: NDArray[np.uint8] = (moved.detach().clamp(0, 1).numpy()[:, 0] * 255).round().astype(np.uint8)
    return levels


def start(example: Example) -> dict[str, Tensor]:
    """Weights of the trained network, and `images`: uint8 (N, 28, 28), benign ones first."""
    model = train(example)
    benign, labels = example.test.images[:EACH].astype(np.uint8), example.test.labels[:EACH]
    images = np.concatenate([benign, attacked(model, benign, labels)])
    return {**model.state_dict(), "images": torch.from_numpy(images)}


def generate(folder: Path) -> None:
    """Write one pair of files per policy and view, from what :data:`START` holds."""
    example, model = load_example(), GoldenNet()
    state = load_file(START)
    images = state.pop("images").numpy()
    model.load_state_dict(state)
    for name, policy in POLICY.items():
        path = folder / f"{name}.onnx"
        export_defended(
            model,
            example.calibration.images[:800],
            example.calibration.labels[:800],
            path,
            calibration=(example.calibration.images[800:], example.calibration.labels[800:]),
            config=ExportConfig(
                policy=policy,
                view="auto" if policy is Policy.ALWAYS else VIEWS.get(name, "shift"),
                benign_budget=0.05,
                mean=MEAN,
                std=STD,
                class_names=example.class_names,
                resize="area",
                ascent_steps=20,
                seed=SEED,
                force=policy is Policy.ALWAYS,
            ),
        )
        with DefendedSession(path, device="cpu", threads=1) as session:
            answers = session.predict(images)
        np.savez_compressed(
            path.with_suffix(".npz"),
            images=images,
            labels=answers.labels,
            logits=answers.logits,
            raw_logits=answers.raw_logits,
            suspicion=answers.suspicion,
            flagged=answers.flagged,
            candidate=answers.candidate,
        )


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=START.parent, help="default: this file's own")
    parser.add_argument("--anew", action="store_true", help="train and attack again")
    arguments = parser.parse_args()
    if arguments.anew:
        save_file(start(load_example()), START)
    generate(arguments.folder)


if __name__ == "__main__":
    main()
