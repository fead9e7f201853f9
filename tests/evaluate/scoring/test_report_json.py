from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nip_evaluate.report.numbers import SCHEMA_VERSION, dump, load, schema_text, to_json
from nip_evaluate.terms import results
from nip_evaluate.terms.results import Check, Estimate, Evaluation, TradeOffPoint
from nip_runtime.errors import InputError
from nip_runtime.file.rates import Rate

Schema = dict[str, Any]
SCHEMA: Schema = json.loads(schema_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

_rates = st.integers(1, 1000).flatmap(lambda n: st.builds(Rate, st.integers(0, n), st.just(n)))
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def built(kind: Any) -> st.SearchStrategy[Any]:
    """Instances of any type that results are made of; numbers in [0, 1], counts from 1."""
    if kind is Rate:
        return _rates
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        make: Any = kind
        return st.builds(make, **{field.name: built(hints[field.name]) for field in fields(kind)})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return st.none() | built(next(one for one in arguments if one is not type(None)))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(built(arguments[0]), min_size=1, max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(built(one) for one in arguments))
    if origin is dict:
        return st.dictionaries(st.text(max_size=3), _json, max_size=2)
    if issubclass(kind, StrEnum):
        return st.sampled_from(list(kind))
    plain: dict[type, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(1, 10**6),
        float: st.floats(0, 1),
        str: st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    }
    return plain[kind]


@pytest.fixture(scope="module")
def example() -> Evaluation:
    """With something in every field."""
    found: list[Evaluation] = []

    @settings(max_examples=1, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(built(Evaluation))
    def draw(evaluation: Evaluation) -> None:
        found.append(evaluation)

    draw()
    return found[0]


@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(built(Evaluation))
def test_round_trip_is_exact_and_obeys_the_schema(evaluation: Evaluation) -> None:
    text = dump(evaluation)
    assert load(text) == evaluation
    VALIDATOR.validate(json.loads(text))


def resolve(schema: Schema) -> Schema:
    if "$ref" in schema:
        return resolve(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")])
    return schema


def test_schema_names_every_field_of_the_dataclasses_and_no_other() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    seen: set[type] = set()

    def compare(schema: Schema, kind: Any, where: str) -> None:
        schema = resolve(schema)
        if kind is Rate:
            assert schema is SCHEMA["$defs"]["rate"], where
        elif is_dataclass(kind):
            assert isinstance(kind, type)
            seen.add(kind)
            names = {field.name for field in fields(kind)} | ({"schema_version"} if where == "$" else set())
            assert set(schema["properties"]) == names == set(schema["required"]), where
            assert schema["additionalProperties"] is False, where
            for name, hint in get_type_hints(kind).items():
                compare(schema["properties"][name], hint, f"{where}.{name}")
        elif get_origin(kind) is UnionType:
            assert VALIDATOR.evolve(schema=schema).is_valid(None), where
            inner = next(one for one in get_args(kind) if one is not type(None))
            compare(schema["anyOf"][0] if "anyOf" in schema else schema, inner, where)
        elif get_origin(kind) is tuple:
            compare(schema["items"], get_args(kind)[0], f"{where}[]")
        elif get_origin(kind) is dict:
            assert schema["type"] == "object", where
        elif issubclass(kind, StrEnum):
            assert schema["enum"] == [member.value for member in kind], where
        else:
            name = {str: "string", bool: "boolean", int: "integer", float: "number"}[kind]
            assert name in schema["type"], where

    compare(SCHEMA, Evaluation, "$")
    listed = {kind for kind in vars(results).values() if isinstance(kind, type) and is_dataclass(kind)}
    assert seen == listed - {Rate}


def test_every_object_of_the_schema_is_closed() -> None:
    closed = [name for name, schema in SCHEMA["$defs"].items() if "properties" in schema]
    assert len(closed) > 15
    for name in closed:
        assert SCHEMA["$defs"][name]["additionalProperties"] is False, name
        assert set(SCHEMA["$defs"][name]["required"]) == set(SCHEMA["$defs"][name]["properties"]), name


def test_reports_of_version_1_0_are_of_fp32_files(example: Evaluation) -> None:
    example = replace(example, subject=replace(example.subject, precision="fp32"))
    document = to_json(example)
    document["schema_version"] = "1.0"
    del document["subject"]["precision"]
    assert load(json.dumps(document)) == example
    document["schema_version"] = "1.1"
    with pytest.raises(InputError, match=r"^\$\.subject\.precision: expected the fields"):
        load(json.dumps(document))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_reports_before_1_2_do_not_say_what_baselines_detect(example: Evaluation, version: str) -> None:
    document = to_json(example)
    detected = [attack.pop("detected") for one in document["baselines"] for attack in one["attacks"]]
    assert detected
    with pytest.raises(InputError, match=r"attacks\[0\].detected: expected the fields"):
        load(json.dumps(document))
    read = load(json.dumps(document | {"schema_version": version}))
    assert {attack.detected for one in read.baselines for attack in one.attacks} == {None}
    assert [one.name for one in read.baselines] == [one.name for one in example.baselines]


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_reports_before_1_3_do_not_say_how_far_below_the_signal(example: Evaluation, version: str) -> None:
    document = to_json(example)
    for attack in document["attacks"]:
        del attack["snr_db"]
    with pytest.raises(InputError, match=r"attacks\[0\].snr_db: expected the fields"):
        load(json.dumps(document))
    assert load(json.dumps(document | {"schema_version": version})) == example


def test_rates_are_spelled_out(example: Evaluation) -> None:
    document = to_json(replace(example, benign=replace(example.benign, undefended=Rate(9, 10))))
    low, high = Rate(9, 10).interval
    assert document["schema_version"] == SCHEMA_VERSION
    assert document["benign"]["undefended"] == {"count": 9, "n": 10, "value": 0.9, "low": low, "high": high}
    assert {attack["threat"] for attack in document["attacks"]} <= {"T1", "T2", "T3", "T4"}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(example: Evaluation, bad: float) -> None:
    estimate = Estimate(0.5, 0.4, bad, 10, "by hand")
    with pytest.raises(InputError, match=r"^\$\.mean_dsr\.high: expected a finite number"):
        dump(replace(example, mean_dsr=estimate))
    machine = replace(example.subject, machine={"load": [bad]})
    with pytest.raises(InputError, match=r"^\$\.subject\.machine\.load\[0\]: expected a finite number"):
        dump(replace(example, subject=machine))
    text = dump(replace(example, mean_dsr=replace(estimate, high=0.123456789)))
    with pytest.raises(InputError, match="which is no number"):
        load(text.replace("0.123456789", json.dumps(bad)))


def test_numpy_numbers_are_numbers_and_other_types_are_not(example: Evaluation) -> None:
    estimate = Estimate(np.float64(0.5), 0.4, 0.6, np.int64(10), "by hand")  # type: ignore[arg-type]
    assert load(dump(replace(example, mean_dsr=estimate))).mean_dsr == Estimate(0.5, 0.4, 0.6, 10, "by hand")
    with pytest.raises(InputError, match=r"^\$\.checks\[0\]\.holds: expected true or false, got 1"):
        dump(replace(example, checks=(Check("a", 1, "b"),)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^\$\.subject\.machine\.when: expected a number, text"):
        dump(replace(example, subject=replace(example.subject, machine={"when": object()})))


def test_every_field_is_required_and_no_other_is_known(example: Evaluation) -> None:
    document = json.loads(dump(example))

    def objects(value: Any, where: str) -> list[tuple[dict[str, Any], str]]:
        if isinstance(value, list):
            return [one for i, item in enumerate(value) for one in objects(item, f"{where}[{i}]")]
        if not isinstance(value, dict) or where.endswith(".machine"):
            return []
        return [(value, where), *(one for k, v in value.items() for one in objects(v, f"{where}.{k}"))]

    for holder, where in objects(document, "$"):
        name, value = next(iter(holder.items()))
        del holder[name]
        with pytest.raises(InputError) as missing:
            load(json.dumps(document))
        assert str(missing.value).startswith(f"{where}.{name}: expected")
        assert not VALIDATOR.is_valid(document)
        holder[name] = value
        holder["novelty"] = 1
        with pytest.raises(InputError) as unknown:
            load(json.dumps(document))
        assert str(unknown.value).startswith(f"{where}.novelty: expected the fields")
        assert not VALIDATOR.is_valid(document)
        del holder["novelty"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("attacks.0.threat", "T9", r"\$\.attacks\[0\]\.threat: expected one of T1, T2, T3, T4, got \"T9\""),
        ("benign.undefended.n", 0, r"\$\.benign\.undefended\.n: expected at least 1 trial"),
        ("benign.undefended.value", 2, r"\$\.benign\.undefended\.value: expected "),
        ("benign.cost.n", 1.5, r"\$\.benign\.cost\.n: expected a whole number, got 1.5"),
        ("subject.seed", True, r"\$\.subject\.seed: expected a whole number, got true"),
        ("influence.0.benign", [], r"\$\.influence\[0\]\.benign: expected a list of 3"),
        ("checks", {}, r"\$\.checks: expected a list"),
        ("latency.0", None, r"\$\.latency\[0\]: expected an object, got null"),
        ("schema_version", "2.0", r"\$\.schema_version: expected \"1.3\", got \"2.0\""),
    ],
)
def test_names_the_path_of_a_bad_field(example: Evaluation, path: str, value: object, message: str) -> None:
    document = json.loads(dump(example))
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    holder: Any = document
    for part in parents:
        holder = holder[part]
    holder[last] = value
    with pytest.raises(InputError, match=f"^{message}.*evaluate the file again$"):
        load(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="evaluate the file again"):
        load(text)


def test_an_infinite_threshold_is_no_point(example: Evaluation) -> None:
    point: TradeOffPoint = replace(example.trade_offs[0].points[0], threshold=math.inf)
    curve = replace(example.trade_offs[0], points=(point,))
    with pytest.raises(InputError, match=r"^\$\.trade_offs\[0\]\.points\[0\]\.threshold"):
        dump(replace(example, trade_offs=(curve,)))
