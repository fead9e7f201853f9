"""Single flipped bits, and whatever hypothesis and the fuzzer's mutations come up with."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact import check_content
from tests.abuse.files.mutate import Mutator, Original
from tests.abuse.files.seal import golden
from tests.runtime.toy import graph_bytes, manifest_for, with_manifest

HERE = Path("f.onnx")
GOLDEN = check_content(golden(), HERE)
MODEL = graph_bytes()
TOY = with_manifest(MODEL, manifest_for(MODEL))


def _flipped(content: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def test_every_flip_in_the_graph_is_told() -> None:
    """A sample of the graph's bits: each is the digest's, or the reader's before it."""
    start, stop = GOLDEN.container.graph_range
    rng = random.Random(0)
    for _ in range(250):
        with pytest.raises(ArtifactError, match="expected"):
            check_content(_flipped(golden(), rng.randrange(start, stop), rng.randrange(8)), HERE)


def test_a_flip_that_passes_changes_nothing_that_runs() -> None:
    """Outside the graph: versions, producer, manifest. What passes leaves graph and interface alone."""
    start, stop = GOLDEN.container.graph_range
    rng = random.Random(1)
    places = [*range(start), *range(stop, len(golden()))]
    passed = []
    for place in rng.sample(places, 350):
        content = _flipped(golden(), place, rng.randrange(8))
        try:
            passed.append(check_content(content, HERE))
        except ArtifactError as error:
            assert "expected" in str(error)
    assert 20 < len(passed) < 200
    for artifact in passed:
        found, good = artifact.manifest, GOLDEN.manifest
        assert artifact.container.graph_digest == GOLDEN.container.graph_digest
        assert (found.input.bounds, found.input.shape) == (good.input.bounds, good.input.shape)
        assert (found.policy, found.output.name, found.output.classes) == (
            good.policy,
            good.output.name,
            good.output.classes,
        )


def test_a_flip_in_the_producers_name_passes() -> None:
    place = golden().index(b"pytorch")
    artifact = check_content(_flipped(golden(), place, 0), HERE)
    assert artifact.container.producer.startswith("qytorch")
    assert artifact.manifest == GOLDEN.manifest


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_any_mutation_is_refused_with_one_error_or_passes(seed: int) -> None:
    content = Mutator([Original(TOY)], seed).make()
    try:
        check_content(content, HERE)
    except ArtifactError as error:
        assert "expected" in str(error) and str(error).isprintable() and len(str(error)) < 1000


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_cuts_and_splices_are_refused_with_one_error_or_pass(data: st.DataObject) -> None:
    first, second = data.draw(st.integers(0, len(TOY))), data.draw(st.integers(0, len(TOY)))
    content = TOY[:first] + data.draw(st.binary(max_size=12)) + TOY[second:]
    try:
        check_content(content, HERE)
    except ArtifactError as error:
        assert "expected" in str(error) and str(error).isprintable()


def test_the_mutations_reach_what_lies_behind_the_digest() -> None:
    """So that the tests above and the fuzzer are no idle walk along the parser."""
    mutator, reasons = Mutator([Original(TOY)], 5), set[str]()
    passed = 0
    for _ in range(1000):
        try:
            check_content(mutator.make(), HERE)
            passed += 1
        except ArtifactError as error:
            reasons.add(str(error).split(", got")[0])
    assert passed > 50
    for word in ("name of its own", "operators of the", "before it", "inputs moved by", "that its shape"):
        assert any(word in reason for reason in reasons), word
