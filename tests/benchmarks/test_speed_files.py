"""The speed benchmark times valid files: they open, answer as the oracle says, and take the passes stated."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.speed import measure, profile
from benchmarks.speed.files import SpeedFiles, expected
from benchmarks.speed.measure import ENGINES, Effort
from benchmarks.speed.profile import Section
from benchmarks.speed.sessions import open_defended, open_plain, plain_run
from benchmarks.speed.targets import State
from nip_export.support.progress import silent
from nip_runtime.file.manifest import Policy
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.session import DefendedSession

TINY = Effort(
    seconds={1: 0.01, 16: 0.01},
    least_rounds=1,
    overhead_calls=3,
    few_seconds=0.01,
    openings=1,
    batches=(1, 16),
    profiled_batches=(1,),
)


@pytest.mark.parametrize("policy", [Policy.GUARDED, Policy.ALWAYS], ids=str)
@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_files_answer_as_the_oracle_and_the_plain_file(
    vit_files: SpeedFiles, policy: Policy, engine: EngineKind
) -> None:
    images = vit_files.pool.batch(5, 2)
    wanted = expected(vit_files, policy, images)
    with open_defended(vit_files.path(policy), engine, threads=1) as session:
        assert session.engine == engine and session.manifest.policy is policy
        found = session.predict(images)
    (plain,) = plain_run(open_plain(vit_files.plain, threads=1))(images)
    np.testing.assert_allclose(found.raw_logits, plain, atol=1e-5)
    np.testing.assert_allclose(found.raw_logits, wanted.raw, atol=1e-4)
    np.testing.assert_allclose(found.logits, wanted.decision.logits, atol=1e-3)


@pytest.mark.parametrize("screened", [0, 1, 16])
def test_batches_take_as_many_second_passes_as_asked(vit_files: SpeedFiles, screened: int) -> None:
    reading = expected(vit_files, Policy.GUARDED, vit_files.pool.batch(16, screened)).reading
    assert int(reading.screened.sum()) == screened


def test_files_open_as_any_user_s(vit_files: SpeedFiles) -> None:
    with DefendedSession(vit_files.path(Policy.GUARDED), device="cpu") as session:
        assert session.manifest.output.classes == vit_files.network.classes
        assert session.predict(vit_files.pool.calm[:3]).labels.shape == (3,)


def test_the_table_is_measured_in_all_its_states(vit_files: SpeedFiles) -> None:
    plain, cells = measure.table(vit_files, TINY, silent)
    assert [cell.batch for cell in plain] == [1, 16]
    found = {(cell.state, cell.engine, cell.batch): cell for cell in cells}
    assert len(found) == len(cells) == 2 * (3 + 5)
    assert (State.FEW, EngineKind.FUSED, 1) not in found
    assert found[State.FEW, EngineKind.GATED, 16].second_pass_rows == 1
    ordinary = found[State.BENIGN, EngineKind.GATED, 16].second_pass_rows
    assert ordinary == round(16 * vit_files.screen_rate) and 1 < ordinary < 16
    for cell in cells:
        assert cell.ratio.median > 0 and cell.latency.p50_ms > 0
    assert measure.overhead(vit_files, TINY, silent).added_us.median > 0


def test_a_file_of_another_network_is_not_timed(vit_files: SpeedFiles) -> None:
    with open_defended(vit_files.path(Policy.GUARDED), EngineKind.FUSED, threads=1) as session:
        measure.check_raw(vit_files, open_plain(vit_files.plain, threads=1), [session])
        other = open_plain(_with_last_bias_raised(vit_files), threads=1)
        with pytest.raises(RuntimeError, match="expected the plain file's logits"):
            measure.check_raw(vit_files, other, [session])


def _with_last_bias_raised(files: SpeedFiles) -> bytes:
    import onnx

    model = onnx.load(files.plain)
    bias = next(tensor for tensor in model.graph.initializer if tensor.dims == [files.network.classes])
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.01, bias.name))
    return bytes(model.SerializeToString())


def test_profiles_part_the_time_of_a_whole_answer(vit_files: SpeedFiles) -> None:
    profiles = {found.variant: found for found in profile.profile_network(vit_files, 1)}
    assert set(profiles) == {"plain"} | {
        f"{engine} {state}" for engine in ENGINES for state in State if state.timed_at(1)
    }
    for found in profiles.values():
        assert found.total_ms == pytest.approx(sum(part.ms for part in found.parts))
        assert found.ms(Section.PASS_1) > 0
        assert found.opening_ms > 0
        assert found.sessions == (3 if found.variant.startswith("gated") else 1)
    plain, calm, every = profiles["plain"], profiles["gated calm"], profiles["gated all"]
    assert plain.ms(Section.HEADS) == plain.ms(Section.PASS_2) == 0
    assert calm.ms(Section.HEADS) > 0 and calm.ms(Section.PASS_2) == 0
    assert every.ms(Section.PASS_2) > 0
    count = {
        name: sum(
            part.nodes
            for part in found.parts
            # Transpositions become onnxruntime's own, by name, where it moves them: around the features' tap.
            if part.section is Section.PASS_1 and part.operator != "Transpose"
        )
        for name, found in profiles.items()
    }
    # The same operators in pass 1, whoever runs it: nothing of the backbone is counted among the heads.
    assert len(set(count.values())) == 1 and count["plain"] > 100, count
    once = {
        name: sum(part.nodes for part in found.parts if part.section in (Section.PASS_1, Section.INSERTED))
        for name, found in profiles.items()
        if name in ("plain", "gated calm")
    }
    assert once["plain"] == once["gated calm"]
