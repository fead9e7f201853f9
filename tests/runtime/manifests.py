"""Any manifest that the dataclasses allow, for hypothesis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from nip_runtime.file.manifest import (
    SCHEMA_VERSION,
    BankInfo,
    BankStorage,
    CalibrationInfo,
    ConversionInfo,
    CoverageInfo,
    DefenceInfo,
    Digests,
    GateInfo,
    InputSpec,
    Interpolation,
    Labels,
    Layout,
    Manifest,
    OutputSpec,
    PerturbationMethod,
    Policy,
    Precision,
    PreprocessSpec,
    Provenance,
    Resampling,
    Resize,
    SecondPassInfo,
    SettingsInfo,
    SoundCut,
    SoundSpec,
    TapInfo,
    VerdictInfo,
    VerificationInfo,
    ViewInfo,
    ViewStep,
)
from nip_runtime.file.rates import Rate

_name = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_positive = st.integers(1, 10**6)
_size = st.integers(0, 10**12)
_number = st.floats(-1e6, 1e6)
_digest = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
_rate = _positive.flatmap(lambda n: st.builds(Rate, st.integers(0, n), st.just(n)))


def _tuples(items: st.SearchStrategy[Any], low: int = 0, high: int = 4) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, min_size=low, max_size=high).map(tuple)


def _sounds(samples: int) -> st.SearchStrategy[SoundSpec]:
    return st.builds(
        SoundSpec,
        rate=_positive,
        resample=st.sampled_from(Resampling),
        cut=st.sampled_from(SoundCut),
        shortest=st.integers(1, samples),
    )


def _crops(size: tuple[int, int]) -> st.SearchStrategy[PreprocessSpec]:
    return st.builds(
        PreprocessSpec,
        resize=st.integers(max(size), 999),
        crop=st.just(size),
        interpolation=st.sampled_from(Interpolation),
    )


@st.composite
def _inputs(draw: st.DrawFn) -> InputSpec:
    layout = draw(st.sampled_from(Layout))
    shape = draw(
        _tuples(st.integers(1, 9), 3, 3) if layout is Layout.NCHW else _tuples(st.integers(1, 9), 1, 4)
    )
    has_mean, high = draw(st.booleans()), draw(st.floats(0.5, 300))
    channels, hears = shape[0], len(shape) == 2 and shape[0] == 1 and draw(st.booleans())
    crops = layout is Layout.NCHW and draw(st.booleans())
    return InputSpec(
        name=draw(_name),
        shape=shape,
        layout=layout,
        bounds=(-high, high) if hears else draw(st.tuples(st.floats(-10, 0), st.just(high))),
        mean=draw(_tuples(_number, channels, channels)) if has_mean else None,
        std=draw(_tuples(st.floats(1e-3, 1e3), channels, channels)) if has_mean else None,
        resize=None if crops else draw(st.sampled_from([*Resize, None])),
        sound=draw(_sounds(shape[1])) if hears else None,
        preprocess=draw(_crops((shape[1], shape[2]))) if crops else None,
    )


@st.composite
def _outputs(draw: st.DrawFn) -> OutputSpec:
    classes = draw(st.integers(2, 6))
    names = draw(st.none() | _tuples(_name, classes, classes))
    return OutputSpec(name=draw(_name), classes=classes, class_names=names)


_conversions = st.builds(
    ConversionInfo, same_label=_rate, max_abs_logit_difference=st.floats(0, 1e6), accuracy_fp32=_rate
)
_settings = st.builds(
    SettingsInfo,
    screen_rate=st.floats(1e-3, 1),
    perturbation=st.sampled_from(PerturbationMethod),
    ascent_steps=_positive,
)
_views = st.lists(st.sampled_from(ViewStep), max_size=4, unique=True).map(tuple)
_tried = st.builds(
    ViewInfo,
    view=_views,
    rho=st.booleans(),
    kept=_rate,
    told=st.floats(0, 1),
    repaired=st.none() | _rate,
    strength=st.floats(0, 1e6),
)


@st.composite
def _gates(draw: st.DrawFn) -> GateInfo:
    view = draw(_views)
    return GateInfo(
        view=view,
        rho=draw(st.booleans()) if view else True,
        typicality_layer=draw(_name),
        centres=draw(_positive),
        directions=draw(_positive),
        early_weight=draw(st.floats(0, 1e6)),
        views_tried=draw(_tuples(_tried)),
    )


@st.composite
def _coverages(draw: st.DrawFn) -> CoverageInfo:
    present = draw(_positive)
    return CoverageInfo(
        with_images=present,
        few_images=draw(st.integers(0, present)),
        without_images=draw(st.integers(0, 1000)),
        pooled=draw(_tuples(_name)),
        silent=draw(_tuples(_name)),
    )


_verdicts = st.builds(
    VerdictInfo,
    detects=_tuples(_name),
    misses=_tuples(_name, 1),
    advice=_tuples(_name),
    early_knows=st.floats(0, 1),
    swapped=_rate,
    reached=_rate,
    allowed_flags=st.integers(0, 1000),
)
_second_passes = st.builds(SecondPassInfo, padding_row=st.booleans(), compared=st.integers(0, 1000))
_precisions = st.one_of(
    st.just((Precision.FP32, None)),
    st.tuples(st.sampled_from([Precision.FP16, Precision.INT8]), _conversions),
)


def _with_precision(manifest: Manifest, chosen: tuple[Precision, ConversionInfo | None]) -> Manifest:
    return replace(manifest, precision=chosen[0], conversion=chosen[1])


_plain_manifests = st.builds(
    Manifest,
    schema_version=st.just(SCHEMA_VERSION),
    input=_inputs(),
    output=_outputs(),
    policy=st.sampled_from(Policy),
    settings=st.none() | _settings,
    flag_rate_all=st.none() | _rate,
    second_pass=st.none() | _second_passes,
    gate=st.none() | _gates(),
    coverage=st.none() | _coverages(),
    verdict=st.none() | _verdicts,
    defence=st.builds(
        DefenceInfo,
        taps=_tuples(st.builds(TapInfo, name=_name, channels=_positive, cells=_positive), 1),
        influence_layer=_name,
        top_k=_positive,
        eps_pixel=st.floats(1e-6, 10),
        bank=st.builds(
            BankInfo,
            rows=_positive,
            shape=_tuples(_positive, 1),
            storage=st.sampled_from(BankStorage),
            size_bytes=_size,
        ),
        readout_size_bytes=_size,
        tests=_tuples(_name),
        screen_threshold=st.none() | _number,
        flag_threshold=_number,
    ),
    calibration=st.builds(
        CalibrationInfo,
        benign_budget=st.floats(1e-4, 0.5),
        images=_positive,
        flag_rate=_rate,
        pass2_rate=_rate,
        accuracy_raw=_rate,
        accuracy_defended=_rate,
        labels=st.sampled_from(Labels),
    ),
    verification=st.builds(
        VerificationInfo,
        images=_positive,
        batches=_tuples(_positive, 1),
        max_abs_logit_error=st.floats(0, 1),
        argmax_agreement=st.floats(0, 1),
    ),
    digests=st.builds(
        Digests, graph=_digest, weights=_digest, profile_data=_digest, calibration_data=_digest
    ),
    provenance=st.builds(
        Provenance,
        created=st.just("2026-01-02T03:04:05.678+00:00"),
        tool=_name,
        torch=_name,
        onnx_ir=_name,
        onnxruntime=_name,
        opset=_positive,
        seed=_size,
    ),
    known_limits=_tuples(_name),
)
manifests = st.builds(_with_precision, _plain_manifests, _precisions)
