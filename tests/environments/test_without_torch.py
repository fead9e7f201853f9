"""The built wheel in a fresh environment that holds onnxruntime and numpy, and no torch."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.environments.installed import ROOT, Environment

pytestmark = pytest.mark.slow

GOLDENS = Path("tests") / "goldens"


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("bare"), wheel)


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    (information,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {"nip_runtime", "nip_export", "nip_evaluate", information}
    for wanted in (
        "nip_runtime/py.typed",
        "nip_runtime/file/manifest/schema-1.json",
        "nip_export/demo/assets/NOTICE",
    ):
        assert wanted in names
    assert f"{information}/licenses/LICENSE" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_what_the_export_side_needs_is_absent(bare: Environment) -> None:
    absent = ("torch", "onnx", "onnx_ir", "onnxscript", "scipy", "foolbox", "cv2", "safetensors")
    code = f"from importlib.util import find_spec; print([n for n in {absent!r} if find_spec(n)])"
    assert bare.python(code).strip() == "[]"
    where = bare.python("import nip_runtime; print(nip_runtime.__file__)")
    assert "site-packages" in where
    assert str(ROOT / "nip_runtime") not in where


def test_the_import_is_light_and_quick(bare: Environment) -> None:
    code = (
        "import time, sys; began = time.perf_counter(); import nip_runtime\n"
        "took = time.perf_counter() - began\n"
        "assert not {'torch', 'onnx', 'onnxruntime', 'nip_export'} & set(sys.modules)\n"
        "print(took)"
    )
    assert min(float(bare.python(code)) for _ in range(5)) < 0.3


FRONT_DOOR = """
import sys
import numpy as np
from nip_runtime import DefendedSession
for file in sys.argv[1:]:
    golden = np.load(file + ".npz")
    with DefendedSession(file + ".onnx", device="cpu", threads=1) as session:
        result = session.predict(golden["images"])
    for name in golden.files[1:]:
        wanted, got, at = golden[name], getattr(result, name), f"{file}: {name}"
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max(), err_msg=at)
        else:
            np.testing.assert_array_equal(got, wanted, err_msg=at)
    assert "torch" not in sys.modules and "nip_export" not in sys.modules
    assert set(result.reason)
    print(file, len(result))
"""

BARE = """
import sys
import numpy as np
import onnxruntime
for file in sys.argv[1:]:
    golden = np.load(file + ".npz")
    session = onnxruntime.InferenceSession(file + ".onnx", providers=["CPUExecutionProvider"])
    pixels = golden["images"][:, None].astype(np.float32) / np.float32(255)
    logits, raw_logits, suspicion, flagged, candidate = session.run(None, {"input": pixels})
    close = dict(rtol=0, atol=1e-4 * np.abs(golden["logits"]).max(), err_msg=file)
    np.testing.assert_allclose(logits, golden["logits"], **close)
    np.testing.assert_allclose(raw_logits, golden["raw_logits"], **close)
    np.testing.assert_allclose(suspicion, golden["suspicion"], atol=1e-4, err_msg=file)
    np.testing.assert_array_equal(flagged, golden["flagged"], err_msg=file)
    np.testing.assert_array_equal(candidate, golden["candidate"], err_msg=file)
    np.testing.assert_array_equal(logits.argmax(1), golden["labels"], err_msg=file)
    assert not any(name.startswith("nip") for name in sys.modules)
    print(file, len(logits))
"""


@pytest.mark.parametrize("code", [FRONT_DOOR, BARE], ids=["nip_runtime", "onnxruntime"])
def test_golden_files_answer_as_they_did(bare: Environment, code: str) -> None:
    files = sorted(GOLDENS / path.stem for path in (ROOT / GOLDENS).glob("*.onnx"))
    assert len(files) >= 10
    assert bare.python(code, *files).splitlines() == [f"{file} 48" for file in files]


def test_the_commands_work_or_say_what_is_missing(bare: Environment) -> None:
    shown = bare.nip("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    for command in ("predict", "inspect", "doctor", "export", "demo"):
        assert f"    {command} " in shown.stdout
    doctor = bare.nip("doctor")
    assert (doctor.returncode, doctor.stderr) == (0, "")
    assert "CPUExecutionProvider        works" in doctor.stdout
    inspected = bare.nip("inspect", GOLDENS / "guarded.onnx")
    assert (inspected.returncode, inspected.stderr) == (0, "")
    take = "import sys, numpy; numpy.save('pixels.npy', numpy.load(sys.argv[1])['images'])"
    bare.python(take, GOLDENS / "guarded.npz")
    predicted = bare.nip("predict", GOLDENS / "guarded.onnx", "pixels.npy", "--json")
    assert (predicted.returncode, predicted.stderr) == (0, "")
    assert predicted.stdout.count("\n") == 48
    for arguments in (
        ("verify", "--pub", "pub.pem", GOLDENS / "guarded.onnx"),
        ("predict", "--require-signature", "pub.pem", GOLDENS / "guarded.onnx", "pixels.npy"),
    ):
        unchecked = bare.nip(*arguments)
        assert (unchecked.returncode, unchecked.stdout) == (2, "")
        assert "nip-runtime[sign]" in unchecked.stderr
    exported = bare.nip("export", "--model", "a:b", "--data", "c.npz", "--out", "d.onnx")
    assert exported.returncode == 2
    assert exported.stderr.count("\n") == 1
    assert "nip-runtime[export]" in exported.stderr
    demo = bare.nip("demo")
    assert demo.returncode == 2
    assert demo.stderr.count("\n") == 1
    assert "pip install" in demo.stderr


def test_the_runtimes_own_tests_pass(bare: Environment) -> None:
    """Last: it installs what those tests need, OpenCV among it."""
    bare.add_test_tools()
    summary = bare.pytest("tests/runtime", "-q", "-p", "no:cacheprovider").splitlines()[-1]
    assert " passed" in summary
    assert "failed" not in summary
    print(summary)
