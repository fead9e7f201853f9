from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nip_runtime.errors import ArtifactError
from nip_runtime.file.manifest import (
    Manifest,
    Policy,
    Precision,
    read_manifest,
)
from nip_runtime.file.manifest.model import ADDED, OPTIONAL, plain
from nip_runtime.file.rates import Rate
from tests.runtime.manifests import manifests
from tests.runtime.toy import graph_bytes, manifest_for

Document = dict[str, Any]
GOOD = manifest_for(graph_bytes())


def _schema() -> Document:
    text = files("nip_runtime.file.manifest").joinpath("schema-1.json").read_text(encoding="utf-8")
    schema: Document = json.loads(text)
    return schema


SCHEMA = jsonschema.Draft202012Validator(_schema())


@given(manifests)
def test_round_trip(manifest: Manifest) -> None:
    text = manifest.to_json()
    assert read_manifest(text) == manifest
    SCHEMA.validate(json.loads(text))


def test_schema_is_a_schema_and_names_every_field_of_the_model() -> None:
    jsonschema.Draft202012Validator.check_schema(_schema())
    document = json.loads(GOOD.to_json())

    def compare(schema: Document, value: object, where: str) -> None:
        if "anyOf" in schema:
            schema = schema["anyOf"][0]
        if "$ref" in schema:
            schema = _schema()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        if isinstance(value, dict):
            by_version = [schema, *schema.get("allOf", [])]
            added = [name for rule in by_version for name in rule.get("else", {}).get("required", [])]
            part = where.removeprefix("$.")
            for rule in _schema()["allOf"]:
                inside = rule.get("else", {}).get("properties", {}).get(part, {})
                added += inside.get("required", [])
            required = {*schema["required"], *added}
            optional = {name for name in value if f"{where}.{name}".removeprefix("$.") in OPTIONAL}
            assert set(schema["properties"]) == set(value) == required | optional, where
            for name, item in value.items():
                compare(schema["properties"][name], item, f"{where}.{name}")
        elif isinstance(value, list) and value:
            compare(schema["items"], value[0], f"{where}[0]")

    compare(_schema(), document, "$")


def _at(document: Document, path: str) -> tuple[Any, Any]:
    """The holder of the field at ``path`` and the key within it."""
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    holder: Any = document
    for part in parents:
        holder = holder[part]
    return holder, last


def _leaves(value: object, where: str = "") -> list[str]:
    if isinstance(value, dict):
        return [leaf for name, item in value.items() for leaf in _leaves(item, f"{where}.{name}".lstrip("."))]
    if isinstance(value, list) and value:
        return [where, *(leaf for i, item in enumerate(value) for leaf in _leaves(item, f"{where}.{i}"))]
    return [where]


LEAVES = _leaves(json.loads(GOOD.to_json()))
_json: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=3) | st.just([])
)


@given(st.sampled_from(LEAVES), _json)
def test_reader_accepts_nothing_that_the_schema_refuses(path: str, value: object) -> None:
    document = json.loads(GOOD.to_json())
    holder, key = _at(document, path)
    holder[key] = value
    try:
        read_manifest(json.dumps(document))
    except ArtifactError:
        return
    SCHEMA.validate(document)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("policy", "sometimes", r'\$\.policy: expected one of guarded, always, detect, got "sometimes"'),
        ("precision", "int4", r"\$\.precision: expected one of fp32, fp16, int8, got \"int4\""),
        ("settings.screen_rate", 0, r"\$\.settings\.screen_rate: expected a share above 0"),
        ("settings.ascent_steps", 0, r"\$\.settings\.ascent_steps: expected at least 1"),
        ("settings.perturbation", "pgd", r"\$\.settings\.perturbation: expected one of ascent, one-step"),
        ("input.shape", [1, 0, 4], r"\$\.input\.shape: expected positive sizes"),
        ("input.shape", [4, 4], r"\$\.input\.shape: expected \(C, H, W\)"),
        ("input.shape.1", True, r"\$\.input\.shape\[1\]: expected a whole number, got true"),
        ("input.bounds", [0.0], r"\$\.input\.bounds: expected a list of 2"),
        ("input.bounds", [1.0, 0.0], r"\$\.input\.bounds: expected low below high"),
        ("input.mean", [0.1, 0.2], r"\$\.input\.mean: expected 1 values, one per channel"),
        ("input.std", None, r"\$\.input\.std: expected mean and std together"),
        ("input.std", [0.0], r"\$\.input\.std: expected positive values"),
        ("input.resize", "cubic", r"\$\.input\.resize: expected one of area, linear"),
        (
            "input.preprocess",
            {"resize": 3, "crop": [4, 4], "interpolation": "area"},
            r"\$\.input\.preprocess\.resize: expected at least 4, the crop, got 3",
        ),
        ("input.layout", 3, r"\$\.input\.layout: expected one of NCHW, any, got 3"),
        ("output.classes", 2, r"\$\.output\.class_names: expected 2 names"),
        ("output.classes", "3", r'\$\.output\.classes: expected a whole number, got "3"'),
        (
            "gate.view",
            ["mirror", "turn"],
            r"\$\.gate\.view\[1\]: expected one of mirror, shift, .*, got \"turn\"",
        ),
        ("gate.view", ["blur", "blur"], r"\$\.gate\.view: expected every step at most once"),
        ("gate.rho", 1, r"\$\.gate\.rho: expected true or false, got 1"),
        ("gate.typicality_layer", "", r"\$\.gate\.typicality_layer: expected a layer"),
        ("gate.centres", 0, r"\$\.gate\.centres: expected at least 1, got 0"),
        ("gate.directions", 0, r"\$\.gate\.directions: expected at least 1, got 0"),
        ("gate.early_weight", -0.5, r"\$\.gate\.early_weight: expected 0 or more"),
        (
            "gate.views_tried.0.view",
            ["bits", "bits"],
            r"\$\.gate\.views_tried\[0\]\.view: expected every step",
        ),
        ("gate.views_tried.1.told", 1.5, r"\$\.gate\.views_tried\[1\]\.told: expected a probability"),
        ("gate.views_tried.1.strength", -1, r"\$\.gate\.views_tried\[1\]\.strength: expected 0 or more"),
        ("gate.views_tried.0.repaired", 0.5, r"\$\.gate\.views_tried\[0\]\.repaired: expected an object"),
        ("gate", [], r"\$\.gate: expected an object, got \[\]"),
        ("defence.taps", [], r"\$\.defence\.taps: expected at least one"),
        ("defence.taps.1.channels", 0, r"\$\.defence\.taps\[1\]\.channels: expected at least 1, got 0"),
        ("defence.eps_pixel", 0, r"\$\.defence\.eps_pixel: expected a positive size"),
        ("defence.bank.storage", "fp64", r"\$\.defence\.bank\.storage: expected one of int8"),
        ("calibration.benign_budget", 1.5, r"\$\.calibration\.benign_budget: expected a share"),
        ("calibration.flag_rate.n", 0, r"\$\.calibration\.flag_rate\.n: expected at least 1 trial"),
        (
            "calibration.flag_rate.value",
            0.5,
            r"\$\.calibration\.flag_rate\.value: expected 0.018 for 27 of 1500",
        ),
        ("verification", [], r"\$\.verification: expected an object, got \[\]"),
        ("digests.graph", "md5:abc", r"\$\.digests\.graph: expected sha256: and 64 hex digits"),
        ("provenance.created", "yesterday", r"\$\.provenance\.created: expected ISO 8601 in UTC"),
        ("known_limits", "none", r"\$\.known_limits: expected a list"),
    ],
)
def test_names_the_path_of_a_bad_field(path: str, value: object, message: str) -> None:
    document = json.loads(GOOD.to_json())
    holder, key = _at(document, path)
    holder[key] = value
    with pytest.raises(ArtifactError, match=f"^{message}.*export the model again$"):
        read_manifest(json.dumps(document))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("view", ["blur", "blur"]),
        ("view", ["turn"]),
        ("rho", None),
        ("typicality_layer", ""),
        ("centres", 0),
        ("directions", 1.5),
        ("early_weight", -0.1),
        ("views_tried", None),
        ("views_tried.0.view", ["bits", "bits"]),
        ("views_tried.0.kept", None),
        ("views_tried.0.told", 1.1),
        ("views_tried.0.repaired", 0.5),
        ("views_tried.0.strength", -1),
    ],
)
def test_the_schema_refuses_the_gates_that_the_reader_refuses(path: str, value: object) -> None:
    document = json.loads(GOOD.to_json())
    holder, key = _at(document["gate"], path)
    holder[key] = value
    with pytest.raises(ArtifactError, match=r"^\$\.gate\."):
        read_manifest(json.dumps(document))
    assert not SCHEMA.is_valid(document)


@pytest.mark.parametrize("path", [leaf for leaf in LEAVES if not leaf[-1].isdigit() and leaf not in OPTIONAL])
def test_every_field_is_required(path: str) -> None:
    document = json.loads(GOOD.to_json())
    holder, key = _at(document, path)
    del holder[key]
    with pytest.raises(
        ArtifactError, match=rf"^\$\.{path}: expected".replace(".0", r"\[0\]").replace(".1", r"\[1\]")
    ):
        read_manifest(json.dumps(document))
    assert not SCHEMA.is_valid(document)


@pytest.mark.parametrize("path", sorted(OPTIONAL))
def test_some_fields_may_be_absent_from_files_of_their_own_version(path: str) -> None:
    document = json.loads(GOOD.to_json())
    holder, key = _at(document, path)
    del holder[key]
    assert read_manifest(json.dumps(document)) == GOOD
    SCHEMA.validate(document)


def _older(minor: int) -> Document:
    """As an older version wrote it: without what later ones added."""
    document: Document = json.loads(GOOD.to_json()) | {"schema_version": f"1.{minor}"}
    for name in (name for added, names in ADDED.items() if added > minor for name in names):
        holder, key = _at(document, name)
        del holder[key]
    return document


@pytest.mark.parametrize(
    ("minor", "field"), [(0, "flag_rate_all"), (1, "flag_rate_all"), (2, "gate"), (3, "verdict")]
)
def test_older_files_lack_what_later_versions_added(minor: int, field: str) -> None:
    read = read_manifest(json.dumps(_older(minor)))
    absent = (
        {"coverage": None, "verdict": None, "second_pass": None}
        | ({"gate": None} if minor < 3 else {})
        | ({"flag_rate_all": None} if minor < 2 else {})
        | ({"settings": None} if minor < 1 else {})
    )
    assert read == replace(GOOD, schema_version=f"1.{minor}", **absent)  # type: ignore[arg-type]
    assert read.precision is Precision.FP32
    assert getattr(read, field) is None
    SCHEMA.validate(_older(minor))


@pytest.mark.parametrize(
    ("minor", "field"), [(1, "precision"), (2, "flag_rate_all"), (3, "gate"), (4, "coverage")]
)
def test_only_older_files_may_lack_what_a_version_added(minor: int, field: str) -> None:
    document = _older(minor - 1) | {"schema_version": f"1.{minor}"}
    with pytest.raises(ArtifactError, match=rf"^\$\.{field}: expected this field"):
        read_manifest(json.dumps(document))
    assert not SCHEMA.is_valid(document)


def test_a_second_pass_looks_at_something_else_than_the_first() -> None:
    document = json.loads(GOOD.to_json())
    document["gate"] |= {"view": [], "rho": False}
    with pytest.raises(ArtifactError, match=r"^\$\.gate\.rho: expected true where the view has no step"):
        read_manifest(json.dumps(document))
    assert not SCHEMA.is_valid(document)
    document["gate"]["rho"] = True
    assert read_manifest(json.dumps(document)).gate is not None
    SCHEMA.validate(document)


@pytest.mark.parametrize(
    ("precision", "conversion"),
    [
        ("int8", None),
        (
            "fp32",
            {
                "same_label": plain(Rate(9, 9)),
                "max_abs_logit_difference": 0.1,
                "accuracy_fp32": plain(Rate(8, 9)),
            },
        ),
    ],
)
def test_a_comparison_with_fp32_belongs_to_other_precisions(precision: str, conversion: object) -> None:
    document = json.loads(GOOD.to_json()) | {"precision": precision, "conversion": conversion}
    with pytest.raises(ArtifactError, match=r"^\$\.conversion: expected (a|no) comparison with fp32"):
        read_manifest(json.dumps(document))
    assert not SCHEMA.is_valid(document)


@pytest.mark.parametrize("where", ["", "input", "defence.bank", "calibration.flag_rate"])
def test_version_rule_for_unknown_fields(where: str) -> None:
    document = json.loads(GOOD.to_json())
    holder, key = _at(document, f"{where}.novelty".lstrip("."))
    holder[key] = 1
    with pytest.raises(ArtifactError, match=rf"^\$\.{where}\.?novelty: expected only known fields"):
        read_manifest(json.dumps(document))
    document["schema_version"] = "1.7"
    assert read_manifest(json.dumps(document)) == replace(GOOD, schema_version="1.7")
    SCHEMA.validate(document)


def test_newer_minor_still_checks_known_fields() -> None:
    document = json.loads(GOOD.to_json()) | {"schema_version": "1.7", "policy": "hope"}
    with pytest.raises(ArtifactError, match=r"^\$\.policy"):
        read_manifest(json.dumps(document))


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("2.0", "expected major version 1, got \"?'?2.0.*upgrade nip-runtime"),
        ("0.9", "expected major version 1, got .*export the model again"),
        ("1", "expected a version such as"),
        ("1.0.0", "expected a version such as"),
        ("one", "expected a version such as"),
        ("1.²", "expected a version such as"),
        (1.0, "expected a version such as"),
    ],
)
def test_refuses_versions_it_cannot_read(version: object, message: str) -> None:
    document = json.loads(GOOD.to_json()) | {"schema_version": version}
    with pytest.raises(ArtifactError, match=rf"^\$\.schema_version: {message}"):
        read_manifest(json.dumps(document))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: "", "as JSON text"),
        (lambda text: text[:-1], "as JSON text"),
        (lambda text: "[" * 100_000, "at most 16 objects and lists in each other, got more"),
        (lambda text: "[" * 16 + "]" * 16, r"^\$: expected an object, got \["),
        (lambda text: "[" * 17 + "]" * 17, "at most 16 objects and lists in each other, got more"),
        (lambda text: '"\\"' * 100_000, "as JSON text"),
        (lambda text: text + " " * (4 << 20), "a manifest of at most 4194304 bytes"),
        (lambda text: text.replace('"top_k": 5', '"top_k": 1' + "0" * 20), "a whole number up to"),
        (lambda text: text.replace("figures of a toy", "\\udfff"), "text that can be written down"),
        (lambda text: "[]", r"^\$: expected an object, got \[\]"),
        (lambda text: "{}", r"\$\.schema_version: expected a version"),
        (lambda text: text.replace('"top_k": 5', '"top_k": 5, "top_k": 6'), "field 'top_k' twice"),
        (lambda text: text.replace('"flag_threshold": 0.5', '"flag_threshold": NaN'), "NaN"),
        (lambda text: text.replace('"flag_threshold": 0.5', '"flag_threshold": 1e999'), "a finite number"),
        (
            lambda text: text.replace('"flag_threshold": 0.5', f'"flag_threshold": 1{"0" * 400}'),
            "a finite number",
        ),
    ],
)
def test_refuses_text_that_is_no_manifest(edit: Callable[[str], str], message: str) -> None:
    text = GOOD.to_json()
    edited = edit(text)
    assert edited != text
    with pytest.raises(ArtifactError, match=message):
        read_manifest(edited)


def test_numbers_may_be_written_either_way() -> None:
    text = (
        GOOD.to_json()
        .replace('"top_k": 5', '"top_k": 5.0')
        .replace('"argmax_agreement": 1.0', '"argmax_agreement": 1')
    )
    assert read_manifest(text) == GOOD


def test_is_frozen_and_refuses_bad_values_at_birth() -> None:
    with pytest.raises(FrozenInstanceError):
        GOOD.policy = Policy.DETECT  # type: ignore[misc]
    with pytest.raises(ValueError, match=r"^top_k: expected at least 1, got 0$"):
        replace(GOOD.defence, top_k=0)
    with pytest.raises(ValueError, match=r"^schema_version: expected 1\.x, got '2.0'$"):
        replace(GOOD, schema_version="2.0")
