"""The example of docs/onnx-in.md, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

from nip_runtime.session import DefendedSession
from tests.onnx_in.made import Form, answers, bars, classifier

pytest.importorskip("onnx2fx", reason="the extra onnx-in is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "onnx-in.md"


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    form = Form(opset=13, constants=True)
    onnx.save(classifier(form), "plain.onnx")
    images, labels = bars(400, seed=2)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    # As the user would to be quick; the page shows what matters.
    example = example.replace("benign_budget=0.05", "benign_budget=0.05, ascent_steps=2")
    exec(compile(example, str(PAGE), "exec"), {"images": images, "labels": labels})
    said = capsys.readouterr().out
    assert "compared with plain.onnx in onnxruntime" in said and "verified" in said
    seen, _ = bars(20, seed=5)
    with DefendedSession("plain.nip.onnx", device="cpu") as session:
        raw = session.predict(seen).raw_logits
    assert abs(raw - answers(Path("plain.onnx").read_bytes(), form, seen)).max() < 1e-4
