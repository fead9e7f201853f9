"""Which file was evaluated, on what, with what."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.given.store import digest_of
from nip_evaluate.given.target import Target
from nip_evaluate.terms.results import Subject
from nip_evaluate.terms.threats import Images, Labels

PACKAGES = ("numpy", "onnxruntime", "torch", "foolbox", "adversarial-robustness-toolbox")


def describe_subject(target: Target, plan: EvaluationPlan, images: Images, labels: Labels) -> Subject:
    """The facts at the end of the report."""
    manifest = target.manifest
    return Subject(
        file=target.path.name,
        size_bytes=target.path.stat().st_size,
        policy=str(manifest.policy),
        precision=str(manifest.precision),
        benign_budget=manifest.calibration.benign_budget,
        eps_pixel=manifest.defence.eps_pixel,
        graph_digest=manifest.digests.graph,
        weights_digest=manifest.digests.weights,
        test_digest=f"sha256:{digest_of(images, labels)}",
        classes=target.classes(),
        seed=plan.seed,
        quick=plan.quick,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
    )


def machine(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """What the numbers were measured on, with the versions of some packages."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in packages},
    }
