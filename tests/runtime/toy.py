"""A small defended file with weights chosen by hand, written without the ``onnx`` package, and its oracle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file.container import encode_metadata_entry, parse_container
from nip_runtime.file.container.encoder import encode_model, encode_node, encode_tensor, encode_value
from nip_runtime.file.container.wire import encode_bytes, encode_int
from nip_runtime.file.manifest import (
    BankInfo,
    BankStorage,
    CalibrationInfo,
    CoverageInfo,
    DefenceInfo,
    Digests,
    GateInfo,
    InputSpec,
    Layout,
    Manifest,
    OutputSpec,
    PerturbationMethod,
    Policy,
    Provenance,
    Resize,
    SecondPassInfo,
    SettingsInfo,
    TapInfo,
    VerdictInfo,
    VerificationInfo,
    ViewInfo,
    ViewStep,
)
from nip_runtime.file.names import (
    CANDIDATE,
    FLAG_THRESHOLD,
    FLAGGED,
    MANIFEST_KEY,
    PERTURBED,
    RAW_LOGITS,
    SECOND_LOGITS,
    SUSPICION,
)
from nip_runtime.file.rates import Rate
from nip_runtime.session import DefendedSession

SHAPE: Final = (1, 4, 4)
CLASSES: Final = 3
THRESHOLD: Final = 0.5
_RNG = np.random.default_rng(7)
# Eighths: with images in 64ths every sum below is exact, so results can be compared bit for bit.
# Every class has the same weights in another order: a bright image favours none.
_LEVELS = _RNG.integers(-8, 9, 16) / 8
WEIGHTS: Final = np.stack([_RNG.permutation(_LEVELS) for _ in range(CLASSES)], axis=1).astype(np.float32)
BIAS: Final = np.array([0.25, 0, -0.25], np.float32)
EVIDENCE: Final = np.concatenate([WEIGHTS[:10], np.roll(WEIGHTS[10:], 1, axis=1)])  # agrees often, not always
MEAN: Final = np.full(16, 1 / 16, np.float32)
EPS: Final = 8 / 255
_MIRROR: Final = {"mirror_start": -1, "mirror_stop": -5, "mirror_axis": 3, "mirror_step": -1}
STEPS: Final = np.where(_RNG.random(16) < 0.5, -127, 127).astype(np.int8)


@dataclass(frozen=True)
class Expected:
    """What the toy file answers, by definition."""

    logits: NDArray[np.float32]
    raw_logits: NDArray[np.float32]
    suspicion: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    candidate: NDArray[np.int64]


def oracle(images: NDArray[np.float32], policy: Policy = Policy.GUARDED) -> Expected:
    """A linear model that calls bright images suspicious and answers those with a second linear model."""
    flat = images.reshape(len(images), 16)
    raw, evidence = flat @ WEIGHTS + BIAS, flat @ EVIDENCE
    suspicion = np.clip(flat @ MEAN, 0, 1)
    flagged = suspicion > THRESHOLD
    defended = {
        Policy.GUARDED: np.where(flagged[:, None], evidence, raw),
        Policy.ALWAYS: evidence,
        Policy.DETECT: raw,
    }[policy]
    return Expected(defended, raw, suspicion, flagged, evidence.argmax(axis=1))


def random_images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """(count, 1, 4, 4) float32 in [0, 1], in 64ths, half of them bright."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 33, (count, *SHAPE)) / 64
    images[::2] += 0.5
    return images.astype(np.float32)


def graph_bytes(
    policy: Policy = Policy.GUARDED,
    *,
    shape: tuple[int, ...] = SHAPE,
    lowest: float = 0,
    steps: NDArray[np.int8] = STEPS,
    input_value: bytes | None = None,
    outputs: list[bytes] | None = None,
    extra_nodes: list[bytes] | None = None,
) -> bytes:
    """The model without a manifest; parts may be replaced to make wrong ones.

    Its second pass looks at mirrored images, or vectors as they are, under the inverse perturbation, as a
    defended file's must; nothing looks at what comes of it.
    """
    view = () if len(shape) == 1 else (encode_node("Slice", ["input", *_MIRROR], ["seen"]),)
    last = {
        Policy.GUARDED: encode_node("Where", ["flagged_column", "evidence", RAW_LOGITS], ["logits"]),
        Policy.ALWAYS: encode_node("Identity", ["evidence"], ["logits"]),
        Policy.DETECT: encode_node("Identity", [RAW_LOGITS], ["logits"]),
    }[policy]
    to_float = encode_bytes(5, encode_bytes(1, "to") + encode_int(3, 1) + encode_int(20, 2))
    return encode_model(
        nodes=[
            encode_node("Flatten", ["input"], ["flat"]),
            encode_node("MatMul", ["flat", "weights"], ["product"]),
            encode_node("Add", ["product", "bias"], [RAW_LOGITS]),
            encode_node("MatMul", ["flat", "evidence_weights"], ["evidence"]),
            encode_node("TopK", ["evidence", "one"], ["best", "best_index"]),
            encode_node("Squeeze", ["best_index", "one"], [CANDIDATE]),
            encode_node("MatMul", ["flat", "mean"], ["brightness"]),
            encode_node("Clip", ["brightness", "zero_level", "one_level"], [SUSPICION]),
            encode_node("LessOrEqual", [SUSPICION, FLAG_THRESHOLD], ["calm"]),
            encode_node("Not", ["calm"], [FLAGGED]),
            encode_node("Unsqueeze", [FLAGGED, "one"], ["flagged_column"]),
            last,
            encode_node("Cast", ["nip/bank"], ["bank"]) + to_float,
            encode_node("Mul", ["bank", "nip/bank_step_size"], ["perturbation"]),
            *view,
            encode_node("Add", ["seen" if view else "input", "perturbation"], ["moved"]),
            encode_node("Clip", ["moved", "lowest", "one_level"], [PERTURBED]),
            encode_node("Flatten", [PERTURBED], ["flat_again"]),
            encode_node("MatMul", ["flat_again", "weights"], ["product_again"]),
            encode_node("Add", ["product_again", "bias"], [SECOND_LOGITS]),
            *(extra_nodes or []),
        ],
        inputs=[input_value or encode_value("input", "float32", ["N", *shape])],
        outputs=outputs or output_values(),
        initializers=[
            encode_tensor("weights", WEIGHTS),
            encode_tensor("bias", BIAS),
            encode_tensor("evidence_weights", EVIDENCE),
            encode_tensor("mean", MEAN),
            encode_tensor("one", np.array([1], np.int64)),
            encode_tensor("zero_level", np.array(0, np.float32)),
            encode_tensor("one_level", np.array(1, np.float32)),
            encode_tensor("lowest", np.array(lowest, np.float32)),
            encode_tensor(FLAG_THRESHOLD, np.array(THRESHOLD, np.float32)),
            *(encode_tensor(name, np.array([number], np.int64)) for name, number in _MIRROR.items()),
            encode_tensor("nip/bank", steps.reshape(1, *shape)),
            encode_tensor("nip/bank_step_size", np.array(EPS / 127, np.float32)),
        ],
    )


def output_values() -> list[bytes]:
    """The graph outputs that the contract asks for."""
    return [
        encode_value("logits", "float32", ["N", CLASSES]),
        encode_value(RAW_LOGITS, "float32", ["N", CLASSES]),
        encode_value(SUSPICION, "float32", ["N"]),
        encode_value(FLAGGED, "bool", ["N"]),
        encode_value(CANDIDATE, "int64", ["N"]),
    ]


def manifest_for(model: bytes, policy: Policy = Policy.GUARDED) -> Manifest:
    """A manifest that fits ``model``; its figures are made up, its digest is not."""
    digest = "sha256:" + "0" * 64
    return Manifest(
        input=InputSpec(
            name="input",
            shape=SHAPE,
            layout=Layout.NCHW,
            bounds=(0.0, 1.0),
            mean=(0.5,),
            std=(0.25,),
            resize=Resize.AREA,
        ),
        output=OutputSpec(name="logits", classes=CLASSES, class_names=("shirt", "bag", "boot")),
        policy=policy,
        settings=SettingsInfo(screen_rate=0.4, perturbation=PerturbationMethod.ASCENT, ascent_steps=120),
        defence=DefenceInfo(
            taps=(
                TapInfo(name="features.0", channels=2, cells=4),
                TapInfo(name="flatten", channels=16, cells=1),
            ),
            influence_layer="flatten",
            top_k=5,
            eps_pixel=EPS,
            bank=BankInfo(rows=1, shape=SHAPE, storage=BankStorage.INT8, size_bytes=16),
            readout_size_bytes=192,
            tests=("disagreement", "typicality", "response", "change"),
            screen_threshold=None,
            flag_threshold=THRESHOLD,
        ),
        calibration=CalibrationInfo(
            benign_budget=0.02,
            images=1500,
            flag_rate=Rate(27, 1500),
            pass2_rate=Rate(1500, 1500),
            accuracy_raw=Rate(1400, 1500),
            accuracy_defended=Rate(1390, 1500),
        ),
        coverage=CoverageInfo(
            with_images=3, few_images=1, without_images=1, pooled=("response",), silent=("disagreement",)
        ),
        verdict=VerdictInfo(
            detects=("inputs that a second look answers otherwise",),
            misses=("attackers who know this defence",),
            advice=("give images of the class that had none",),
            early_knows=0.4,
            swapped=Rate(95, 100),
            reached=Rate(38, 100),
            allowed_flags=20,
        ),
        second_pass=SecondPassInfo(padding_row=False, compared=17),
        gate=GateInfo(
            view=(ViewStep.MIRROR,),
            rho=True,
            typicality_layer="flatten",
            centres=3,
            directions=16,
            early_weight=0.5,
            views_tried=(
                ViewInfo(
                    view=(ViewStep.MIRROR, ViewStep.BLUR),
                    rho=False,
                    kept=Rate(290, 300),
                    told=0.7,
                    repaired=Rate(30, 100),
                    strength=0.25,
                ),
                ViewInfo(
                    view=(ViewStep.MIRROR,),
                    rho=True,
                    kept=Rate(299, 300),
                    told=0.75,
                    repaired=None,
                    strength=0.2,
                ),
            ),
        ),
        verification=VerificationInfo(
            images=64, batches=(1, 3, 17), max_abs_logit_error=1e-5, argmax_agreement=1.0
        ),
        digests=Digests(
            graph=parse_container(model).graph_digest,
            weights=digest,
            profile_data=digest,
            calibration_data=digest,
        ),
        provenance=Provenance(
            created="2026-01-02T03:04:05Z",
            tool="nip-runtime 0.1.0",
            torch="2.9.0",
            onnx_ir="1.0.0",
            onnxruntime="1.23.0",
            opset=17,
            seed=0,
        ),
        known_limits=("figures of a toy",),
    )


def with_manifest(model: bytes, manifest: Manifest | str) -> bytes:
    """The finished file."""
    text = manifest if isinstance(manifest, str) else manifest.to_json()
    return model + encode_metadata_entry(MANIFEST_KEY, text)


def write_toy(folder: Path, policy: Policy = Policy.GUARDED) -> Path:
    """Write the toy file of one policy."""
    model = graph_bytes(policy)
    path = folder / f"toy-{policy}.onnx"
    path.write_bytes(with_manifest(model, manifest_for(model, policy)))
    return path


def vector_model() -> bytes:
    """The toy graph for an input of rank 2: (N, 16), within [-1, 1], no image."""
    model = graph_bytes(shape=(16,), lowest=-1)
    manifest = manifest_for(model)
    assert manifest.gate is not None
    bank, gate = replace(manifest.defence.bank, shape=(16,)), replace(manifest.gate, view=(), views_tried=())
    spec = replace(
        manifest.input, shape=(16,), layout=Layout.ANY, bounds=(-1.0, 1.0), mean=None, std=None, resize=None
    )
    defence = replace(manifest.defence, bank=bank)
    return with_manifest(model, replace(manifest, input=spec, defence=defence, gate=gate))


def pixels(session: DefendedSession, count: int, seed: int = 3) -> NDArray[np.uint8]:
    """Random uint8 images (count, H, W, C) that fit the session's model."""
    channels, height, width = session.manifest.input.shape
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, height, width, channels), np.uint8)
