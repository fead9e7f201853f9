"""The manifest of a finished export."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from nip_export.attach.writing import graph_digest, provenance, weights_digest
from nip_export.calibrate import Calibration, ViewTrial
from nip_export.calibrate.verdict import Verdict
from nip_export.defence.spec import DefenceSpec
from nip_export.fit.bench import Bench
from nip_export.precision.agreement import Agreement
from nip_export.verify import Comparison
from nip_runtime.file.manifest import (
    BankInfo,
    BankStorage,
    CalibrationInfo,
    DefenceInfo,
    Digests,
    GateInfo,
    InputSpec,
    Labels,
    Layout,
    Manifest,
    OutputSpec,
    PerturbationMethod,
    Policy,
    Precision,
    Resize,
    SecondPassInfo,
    SettingsInfo,
    TapInfo,
    VerdictInfo,
    VerificationInfo,
    ViewInfo,
)

KNOWN_LIMITS = (
    "Calibrated on benign images alone; images of another source may be flagged more often than stated.",
    "Made against attacks on the undefended model. An attacker who knows the defence and optimises against "
    "it is expected to get through about as often as without it; this file claims nothing about that case.",
    "Attacks that query the deployed file are expected to succeed as often as without the defence, on some "
    "networks more often.",
    "Attacks whose features stay typical while the early layers agree pass the screen unseen; of colour "
    "images, those whose colours stay as smooth as well. Attacks that move features little, such as single "
    "steps on natural images, are noticed least.",
)

STORED = (
    "The second look begins with a round trip through JPEG of quality {}: benign images that were stored "
    "otherwise are flagged more often."
)

UNLABELLED = (
    "Made without labels: the network's own predictions stood in for them. Its mistakes count as right, and "
    "agreement with it says nothing of how often it is right."
)

CONVERTED_LIMITS = {
    Precision.FP32: (),
    Precision.FP16: (
        "Thresholds and agreement with fp32 were measured with onnxruntime's CPU provider, which rounds "
        "weights to float16 but few activations. GPUs round both: whether the benign budget holds there was "
        "not measured.",
    ),
    Precision.INT8: (
        "Thresholds and agreement with fp32 were measured with onnxruntime's CPU provider. Others may round "
        "otherwise: whether the benign budget holds there was not measured.",
    ),
}


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured on the way to the file."""

    calibration: Calibration
    comparison: Comparison
    opset: int
    agreement: Agreement | None
    trials: tuple[ViewTrial, ...]
    verdict: Verdict
    padding_row: bool
    notes: tuple[str, ...] = ()


def describe(
    bench: Bench, spec: DefenceSpec, measured: Measured, content: bytes, model: nn.Module
) -> Manifest:
    """The manifest of the serialised model `content`."""
    config, found = bench.config, measured.calibration
    precision = Precision(config.precision)
    image = len(bench.shape) == 3
    channels = bench.shape[0]
    taken = InputSpec(
        name=config.input_name,
        shape=bench.shape,
        layout=Layout.NCHW if image else Layout.ANY,
        bounds=spec.bounds,
        mean=per_channel(config.mean, channels),
        std=per_channel(config.std, channels),
        resize=Resize(config.resize) if config.resize is not None else None,
        sound=config.sound,
        preprocess=config.preprocess,
    )
    read = [(readout.tap, readout.cells) for readout in spec.readouts] or [(spec.typicality.tap, 1)]
    return Manifest(
        input=taken,
        output=OutputSpec(
            name=config.output_name,
            classes=spec.classes,
            class_names=tuple(config.class_names) if config.class_names is not None else None,
        ),
        policy=spec.policy,
        precision=precision,
        conversion=measured.agreement.info() if measured.agreement is not None else None,
        settings=SettingsInfo(
            screen_rate=float(config.screen_rate),
            perturbation=PerturbationMethod(config.perturbation),
            ascent_steps=int(config.ascent_steps),
        ),
        defence=DefenceInfo(
            taps=tuple(
                TapInfo(
                    name=name,
                    channels=bench.plan.tap(name).channels,
                    cells=cells_in_all(cells, bench.plan.tap(name).shape),
                )
                for name, cells in read
            ),
            influence_layer=bench.plan.features,
            top_k=config.top_k,
            eps_pixel=config.eps,
            bank=BankInfo(
                rows=len(spec.bank.steps),
                shape=tuple(spec.bank.steps.shape[1:]),
                storage=BankStorage.INT8,
                size_bytes=spec.bank.size_bytes,
            ),
            readout_size_bytes=spec.readout_size_bytes,
            tests=("disagreement", "typicality", "response", "change"),
            screen_threshold=spec.gate.screen_threshold if spec.policy is not Policy.ALWAYS else None,
            flag_threshold=spec.gate.flag_threshold,
        ),
        calibration=CalibrationInfo(
            benign_budget=config.benign_budget,
            images=len(bench.calibration.labels),
            flag_rate=found.flag_rate,
            pass2_rate=found.pass2_rate,
            accuracy_raw=found.accuracy_raw,
            accuracy_defended=found.accuracy_defended,
            labels=Labels.GIVEN if bench.calibration.is_labelled else Labels.PREDICTED,
        ),
        flag_rate_all=found.flag_rate_all,
        gate=GateInfo(
            view=spec.view,
            rho=spec.bank.adds,
            typicality_layer=spec.typicality.tap,
            centres=len(spec.typicality.centres),
            directions=spec.typicality.centres.shape[1],
            early_weight=spec.gate.early_weight,
            views_tried=tuple(
                ViewInfo(
                    view=trial.view,
                    rho=trial.rho,
                    kept=trial.kept,
                    told=trial.told,
                    repaired=trial.repaired,
                    strength=trial.strength,
                )
                for trial in measured.trials
            ),
        ),
        coverage=measured.verdict.coverage,
        verdict=said_of(taken, measured.verdict.info),
        verification=VerificationInfo(
            images=measured.comparison.images,
            batches=measured.comparison.batches,
            max_abs_logit_error=measured.comparison.max_abs_logit_error,
            argmax_agreement=measured.comparison.argmax_agreement,
        ),
        second_pass=SecondPassInfo(
            padding_row=measured.padding_row, compared=measured.comparison.second_pass
        ),
        digests=Digests(
            graph=graph_digest(content),
            weights=weights_digest(model),
            profile_data=bench.profile.source.digest(),
            calibration_data=bench.calibration.source.digest(),
        ),
        provenance=provenance(opset=measured.opset, seed=config.seed),
        known_limits=(
            *map(taken.said, KNOWN_LIMITS),
            *(() if bench.calibration.is_labelled else (UNLABELLED,)),
            *(STORED.format(step.quality) for step in spec.view if step.quality is not None),
            *CONVERTED_LIMITS[precision],
            *(f"{note}." for note in measured.notes),
        ),
    )


def said_of(taken: InputSpec, found: VerdictInfo | None) -> VerdictInfo | None:
    """A verdict in the word for what the model takes."""
    if found is None:
        return None
    detects, misses, advice = (
        tuple(map(taken.said, of)) for of in (found.detects, found.misses, found.advice)
    )
    return replace(found, detects=detects, misses=misses, advice=advice)


def per_channel(values: object, channels: int) -> tuple[float, ...] | None:
    """Normalisation constants as one value per channel."""
    if not isinstance(values, list | tuple):
        return None
    floats = tuple(float(value) for value in values)
    return floats * channels if len(floats) == 1 else floats


def cells_in_all(cells: int, activation_shape: tuple[int, ...]) -> int:
    """Number of cells in a grid with `cells` per spatial axis."""
    return int(cells ** max(len(activation_shape) - 1, 0)) if cells > 1 else 1
