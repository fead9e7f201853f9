"""What no check before opening can see: graphs that pass it and then do not run, or answer otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nip_runtime.errors import ArtifactError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.session import DefendedSession
from tests.abuse.files.edits import add_weight
from tests.abuse.files.seal import resealed
from tests.abuse.files.tree import NODE, Model, node


def _put_behind(output: str, operator: str, *inputs: str) -> bytes:
    """The golden file with one operator more between an output and what computed it."""

    def edit(model: Model) -> None:
        producer = model.node(output)
        (part,) = [part for part in producer.parts(2) if part.value == output.encode()]
        part.value = b"before"
        for consumer in model.graph.messages(NODE):
            for given in consumer.parts(1):
                if given.value == output.encode():
                    given.value = b"before"
        add_weight("axis", np.array([1], np.int64))(model)
        add_weight("odd", np.zeros((7, 5), np.float32))(model)
        model.graph.add(NODE, node(operator, ["before", *inputs], [output]))

    return resealed(edit)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            _put_behind("nip_flagged", "Unsqueeze", "axis"),
            r"expected answers of shapes \(3, 10\) and \(3,\), got .*, \(3, 1\), \(3,\); get the original",
            id="another-rank",
        ),
        pytest.param(
            _put_behind("nip_suspicion", "Add", "odd"),
            "expected a graph that onnxruntime can run on these rows, got .*Add",
            id="does-not-run",
        ),
    ],
)
def test_a_lying_graph_is_one_error(tmp_path: Path, content: bytes, message: str) -> None:
    """Engine gated runs the last part of a graph only where rows take the second pass, so fused is asked."""
    path = tmp_path / "lying.onnx"
    path.write_bytes(content)
    read_artifact(path)
    with (
        pytest.raises(ArtifactError, match=message) as caught,
        DefendedSession(path, device="cpu", engine="fused", threads=1) as session,
    ):
        session.predict(np.zeros((3, 1, 28, 28), np.float32))
    assert "\n" not in str(caught.value)
