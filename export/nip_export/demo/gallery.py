"""What the report shows of one attack: a few images on their way, and where their neurons' influence went."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from nip_export.data import to_model_input
from nip_export.demo.attacks import Attacked
from nip_export.demo.example import Example
from nip_export.demo.figures import png_uri, signed_png_uri
from nip_export.demo.influence import Condition, InfluenceShift
from nip_export.demo.report import Gallery, Panel
from nip_export.network import TapCells, tapped_network
from nip_export.profiles import influences
from nip_export.report import ExportReport
from nip_runtime.result import Prediction

PANELS = 6
FREE_SCALE = 32
"""Scale of the drawn difference, in 1/255, where the attack has no ε."""

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]


def make_gallery(
    example: Example, report: ExportReport, attacked: Attacked, *, benign: Prediction, prediction: Prediction
) -> Gallery:
    """Show the attack on the images that it turned from right to wrong, in test order.

    The inverse perturbation is the file's own: the universal one, or that of the candidate class if the
    bank has one per class. It is drawn and measured on every image shown, also on those that the gate let
    pass.

    Args:
        example: where the images came from.
        report: of the export.
        attacked: the attack to show.
        benign: the file's answers on the benign test images.
        prediction: the file's answers on the attacked images.
    """
    clean = to_model_input(example.test.images, attacked.images.shape[1])
    truth = example.test.labels
    count = len(prediction)
    successful = (benign.raw_labels[:count] == truth[:count]) & (prediction.raw_labels != truth[:count])
    rows = np.flatnonzero(successful)
    bank = report.spec.bank.dense()
    inverse = bank[prediction.candidate[rows]] if len(bank) > 1 else np.repeat(bank, len(rows), axis=0)
    restored = np.clip(attacked.images[rows] + inverse, 0, 1)
    after = _labels(example, restored)
    case = attacked.case
    difference_scale = FREE_SCALE if case.epsilon is None else round(case.epsilon * 255)
    perturbation_scale = math.ceil(report.manifest.defence.eps_pixel * 255 - 1e-6)
    names = example.class_names
    panels = tuple(
        Panel(
            true_class=names[truth[row]],
            attacked_class=names[prediction.raw_labels[row]],
            perturbed_class=names[after[index]],
            defended_class=names[prediction.labels[row]],
            flagged=bool(prediction.flagged[row]),
            benign_uri=png_uri(clean[row]),
            attacked_uri=png_uri(attacked.images[row]),
            difference_uri=signed_png_uri(attacked.images[row] - clean[row], scale=difference_scale / 255),
            perturbation_uri=signed_png_uri(inverse[index], scale=perturbation_scale / 255),
            perturbed_uri=png_uri(restored[index]),
        )
        for index, row in enumerate(rows[:PANELS])
    )
    inputs = {
        Condition.BENIGN: clean[rows],
        Condition.ATTACKED: attacked.images[rows],
        Condition.RESTORED: restored,
    }
    return Gallery(
        case=case,
        panels=panels,
        difference_scale=difference_scale,
        perturbation_scale=perturbation_scale,
        shift=_shift(example, report, inputs, truth[rows]) if len(rows) else None,
    )


def _shift(
    example: Example, report: ExportReport, inputs: dict[Condition, FloatArray], labels: IndexArray
) -> InfluenceShift:
    features = report.plan.features
    tap = next(layer for layer in report.plan.layers if layer.name == features)
    profile = report.profiles[features]
    network = tapped_network(
        example.model,
        torch.from_numpy(inputs[Condition.BENIGN]),
        [features],
        mean=example.mean,
        std=example.std,
    ).eval()
    measured = {
        condition: influences(
            network, torch.from_numpy(images), torch.from_numpy(labels), [TapCells(tap, 1)]
        )[features].numpy()
        for condition, images in inputs.items()
    }
    ranks = np.argsort(-profile.influence, axis=1, kind="stable")
    return InfluenceShift(influence=measured, order=ranks[labels], top_k=profile.top_k)


@torch.no_grad()
def _labels(example: Example, images: FloatArray) -> IndexArray:
    network = tapped_network(
        example.model, torch.from_numpy(images), [], mean=example.mean, std=example.std
    ).eval()
    (logits,) = network(torch.from_numpy(images))
    return np.asarray(logits.argmax(1).numpy(), np.int64)
