"""README and docs are run: numbers come from kept JSON, examples work as they stand, links lead somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat

from benchmarks.demo_table import table
from nip_evaluate.demo.summary import summarise
from tests.evaluate.page import synthetic

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def examples(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


EXAMPLES = [example for text in (README, *PAGES.values()) for example in examples(text)]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_table_is_written_from_the_kept_numbers() -> None:
    done = run("benchmarks/demo_table.py", "--check", cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_number_changed_by_hand_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    for name in ("benchmarks/demo_table.py", "benchmarks/results/demo.json"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    page = PAGES["results.md"]
    altered = re.sub(r"(\| PGD 8/255 \| \d+ \| )\d+\.\d", r"\g<1>99.9", page)
    assert altered != page
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text(altered, encoding="utf-8")
    done = run("benchmarks/demo_table.py", "--check", cwd=tmp_path)
    assert done.returncode == 1
    assert "results.md differs" in done.stderr


def test_the_worst_case_of_the_adaptive_attacks_heads_their_table() -> None:
    evaluation = synthetic.full()
    cases = tuple(replace(case, epsilon=8 / 255) for case in evaluation.worst_case)
    made = {"cores": 2, "system": "Linux", "python": "3.11", "packages": {"numpy": "2"}}
    summary = summarise(replace(evaluation, worst_case=cases)) | {"machine": made}
    rows = table(json.loads(json.dumps(summary))).partition("(T4)")[2].splitlines()[4:]
    assert rows[0] == ("| **worst of 5 adaptive attacks per image, ε 8/255** | 500 | **3.4 % (2.1–5.4)** |")
    assert rows[1].startswith("| adaptive")
    # The summary of a demo with one adaptive attack per ε has no worst case.
    del summary["adaptive_worst"]
    assert table(summary).partition("(T4)")[2].splitlines()[4:] == rows[1:]


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= 150


DOCUMENTS = ["README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", *(f"docs/{n}" for n in PAGES)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_to_a_file_leads_somewhere(name: str) -> None:
    path = ROOT / name
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert missing == []


def test_every_page_is_linked_from_the_contents() -> None:
    assert "docs/README.md" in README
    contents = PAGES["README.md"]
    assert [name for name in PAGES if name != "README.md" and f"({name})" not in contents] == []


@pytest.mark.parametrize("marker", ["import onnxruntime\n", "import DefendedSession\n"])
def test_the_deployment_examples_run(marker: str, tmp_path: Path) -> None:
    example = next(text for text in EXAMPLES if marker in text)
    (tmp_path / "model.nip.onnx").write_bytes((ROOT / "tests" / "goldens" / "guarded.onnx").read_bytes())
    images = "import numpy as np\nimages = np.zeros((3, 28, 28), np.uint8)\n"
    done = run("-c", images + example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert len(lines) == (1 if "onnxruntime\n" in marker else 3), done.stdout


def test_the_export_example_names_real_settings() -> None:
    from nip_export import ExportConfig

    example = next(text for text in EXAMPLES if "export_defended(" in text)
    call = re.search(r"config=(ExportConfig\(.*\)),\n", example)
    assert call is not None
    config = eval(call.group(1), {"ExportConfig": ExportConfig})
    assert config.benign_budget == 0.02
    assert len(config.mean) == len(config.std) == 3


def test_the_streaming_example_runs(tmp_path: Path) -> None:
    example = next(text for text in EXAMPLES if "session.predict_stream(paths" in text)
    (tmp_path / "model.nip.onnx").write_bytes((ROOT / "tests" / "goldens" / "guarded.onnx").read_bytes())
    before = """
import cv2
import numpy as np
from nip_runtime import DefendedSession
paths = ["a.png", "b.png"]
for path in paths:
    cv2.imwrite(path, np.zeros((28, 28), np.uint8))
tensor = np.zeros((2, 1, 28, 28), np.float32)
session = DefendedSession("model.nip.onnx", device="cpu")
"""
    done = run("-c", before + example + "print(np.from_dlpack(answers.logits).shape)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["a.png", "b.png", "(2,"]


def test_the_production_examples_run(tmp_path: Path) -> None:
    """Signed with a key made here: the second example goes on with the first one's session."""
    golden = (ROOT / "tests" / "goldens" / "guarded.onnx").read_bytes()
    (tmp_path / "model.nip.onnx").write_bytes(golden)
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "key.pem").chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "pub.pem").write_bytes(public)
    signing = next(line for line in PAGES["production.md"].splitlines() if line.startswith("nip sign "))
    done = run("-m", "nip_runtime.cli.main", *signing.partition("#")[0].split()[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refusing = next(text for text in EXAMPLES if 'on_bad_row="skip"' in text)
    watching = next(text for text in EXAMPLES if "DriftWatch(" in text)
    before = """
import numpy as np
from nip_runtime import DefendedSession
images = np.zeros((3, 1, 28, 28), np.float32)
images[1, 0, 5, 5] = np.nan
"""
    after = """
session.predict(images, on_bad_row="skip")
from prometheus_client import REGISTRY, generate_latest
print(len(open("flagged.jsonl").readlines()), b'reason="refused"} 1.0' in generate_latest(REGISTRY))
"""
    done = run("-W", "error", "-c", before + refusing + watching + after, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("1 expected ") and "NaN" in first
    assert last.split()[1] == "True" and int(last.split()[0]) >= 1
