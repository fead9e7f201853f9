"""``nip sign`` and ``nip verify``."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from nip_runtime.cli.main import main
from nip_runtime.cli.sign import PASSPHRASE
from nip_runtime.file.names import MANIFEST_KEY
from tests.signing.conftest import GOLDEN, Owner, Signed

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN, tmp_path / "model.nip.onnx"))


@pytest.fixture
def encrypted(owner: Owner, tmp_path: Path) -> Path:
    path = tmp_path / "encrypted.pem"
    path.touch(mode=0o600)
    secret = BestAvailableEncryption(b"hunter2")
    path.write_bytes(owner.key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    return path


def refused(capture: Capture, *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capture.readouterr()
    assert out == ""
    assert err.startswith("nip: error: ") and err.count("\n") == 1
    return err


def test_signed_and_verified(model: Path, owner: Owner, capsys: Capture) -> None:
    before = model.read_bytes()
    assert main(["sign", "--key", str(owner.private), str(model)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"file       {model} ({len(before)} bytes)"
    assert said[2] == 'signed as  "model.nip.onnx"'
    assert said[3] == f"key        sha256:{owner.key.public.fingerprint}"
    assert said[4] == f"bundle     {model}.sig"
    assert model.read_bytes() == before
    assert sorted(path.name for path in model.parent.iterdir()) == ["model.nip.onnx", "model.nip.onnx.sig"]
    assert main(["verify", "--pub", str(owner.public), str(model)]) == 0
    assert capsys.readouterr().out.splitlines() == ["signature holds", *said]


def test_as_json(signed: Signed, capsys: Capture) -> None:
    assert main(["verify", "--json", "--pub", str(signed.owner.public), str(signed.path)]) == 0
    verified = json.loads(capsys.readouterr().out)
    assert main(["sign", "--json", "--key", str(signed.owner.private), str(signed.path)]) == 0
    assert json.loads(capsys.readouterr().out) == verified
    assert verified["bundle"] == str(signed.bundle)
    assert verified["name"] == "model.nip.onnx"


def test_inspecting_says_that_there_is_a_bundle(signed: Signed, capsys: Capture) -> None:
    line = f"signature     {signed.bundle}, not verified: nip verify"
    assert main(["inspect", str(signed.path)]) == 0
    assert line in capsys.readouterr().out.splitlines()
    assert main(["inspect", "--json", str(signed.path)]) == 0
    assert json.loads(capsys.readouterr().out)["signature"] == str(signed.bundle)
    signed.bundle.unlink()
    assert main(["inspect", str(signed.path)]) == 0
    assert "\nsignature " not in capsys.readouterr().out
    assert main(["inspect", "--json", str(signed.path)]) == 0
    assert json.loads(capsys.readouterr().out)["signature"] is None


def test_predicting_with_a_signature_required(signed: Signed, stranger: Owner, capsys: Capture) -> None:
    images = signed.path.with_name("images.npy")
    np.save(images, np.load(GOLDEN.with_suffix(".npz"))["images"])
    predict = ("predict", signed.path, images, "--device", "cpu", "--require-signature")
    assert main([str(argument) for argument in (*predict, signed.owner.public)]) == 0
    assert capsys.readouterr().out.count("\n") > 48
    assert "expected a signature by the key" in refused(capsys, *predict, stranger.public)


def test_a_bundle_by_another_name(model: Path, owner: Owner, tmp_path: Path, capsys: Capture) -> None:
    bundle = tmp_path / "b.json"
    named = ("--bundle", str(bundle), str(model))
    assert main(["sign", "--key", str(owner.private), *named]) == 0
    assert main(["verify", "--pub", str(owner.public), *named]) == 0
    capsys.readouterr()
    assert "got nothing there" in refused(capsys, "verify", "--pub", owner.public, model)


def test_verifying_refuses(signed: Signed, stranger: Owner, capsys: Capture) -> None:
    public = signed.owner.public
    assert "a private key; keep it secret" in refused(
        capsys, "verify", "--pub", signed.owner.private, signed.path
    )
    assert "expected a signature by the key" in refused(
        capsys, "verify", "--pub", stranger.public, signed.path
    )
    content = bytearray(signed.content)
    content[1234] ^= 1
    signed.path.write_bytes(content)
    assert "the file was changed" in refused(capsys, "verify", "--pub", public, signed.path)
    signed.bundle.unlink()
    assert "nip sign" in refused(capsys, "verify", "--pub", public, signed.path)
    signed.path.unlink()
    assert "got nothing there" in refused(capsys, "verify", "--pub", public, signed.path)


def test_signing_refuses_what_is_no_defended_file(
    model: Path, owner: Owner, tmp_path: Path, capsys: Capture
) -> None:
    content = model.read_bytes()
    changed = content.replace(b"\x00\x00\x80\x3f", b"\x00\x00\x80\x3e", 1)
    assert changed != content
    for what, damaged in (
        ("cut off", content[:-100]),
        ("digest", changed),
        ("plain ONNX model", content.replace(MANIFEST_KEY.encode(), b"x" * len(MANIFEST_KEY))),
        ("expected an ONNX model", b"text"),
        ("an empty file", b""),
    ):
        model.write_bytes(damaged)
        assert what in refused(capsys, "sign", "--key", owner.private, model)
        assert [path.name for path in tmp_path.iterdir()] == [model.name]


def test_a_plain_model_is_signed_if_one_insists(model: Path, owner: Owner, capsys: Capture) -> None:
    model.write_bytes(model.read_bytes().replace(MANIFEST_KEY.encode(), b"x" * len(MANIFEST_KEY)))
    assert main(["sign", "--any", "--key", str(owner.private), str(model)]) == 0
    assert main(["verify", "--pub", str(owner.public), str(model)]) == 0
    capsys.readouterr()
    model.write_bytes(b"text")
    assert "expected an ONNX model" in refused(capsys, "sign", "--any", "--key", owner.private, model)


def test_a_failed_signature_leaves_the_old_one(
    signed: Signed, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = signed.bundle.read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    said = refused(capsys, "sign", "--key", signed.owner.private, signed.path)
    assert "No space left on device" in said
    assert signed.bundle.read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("path", [".", "/", "", "..", "x" * 252, "x" * 300])
def test_paths_of_no_file(path: str, owner: Owner, tmp_path: Path, capsys: Capture) -> None:
    model = tmp_path / path if path.startswith("x") else path
    if len(path) == 252:  # whose bundle has no place
        shutil.copy(GOLDEN, model)
    for said in (
        refused(capsys, "sign", "--key", owner.private, model),
        refused(capsys, "verify", "--pub", owner.public, model),
    ):
        assert "traceback" not in said
        assert "a folder" in said or "the folder" in said or "File name too long" in said
    long = tmp_path / ("x" * 300)
    assert "too long" in refused(capsys, "sign", "--key", owner.private, "--bundle", long, GOLDEN)
    assert "too long" in refused(capsys, "verify", "--pub", owner.public, "--bundle", long, GOLDEN)


def test_signing_overwrites_neither_model_nor_key(model: Path, owner: Owner, capsys: Capture) -> None:
    link = model.with_name("link")
    link.symlink_to(owner.private)
    sign = ("sign", "--key", owner.private, "--bundle")
    assert "got the model" in refused(capsys, *sign, model, model)
    assert "got the key" in refused(capsys, *sign, owner.private, model)
    assert "got the key" in refused(capsys, *sign, link, model)
    assert "got the folder" in refused(capsys, *sign, model.parent, model)
    nowhere = model.parent / "no" / "b.sig"
    # Before the key is read: nobody types a passphrase in vain.
    said = refused(capsys, "sign", "--key", "no-key", "--bundle", nowhere, model)
    assert "cannot write to the folder" in said
    assert model.read_bytes() == GOLDEN.read_bytes()


def test_a_passphrase_from_the_environment(
    model: Path, encrypted: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSPHRASE, "hunter2")
    assert main(["sign", "--key", str(encrypted), str(model)]) == 0
    assert "hunter2" not in "".join(capsys.readouterr())
    monkeypatch.setenv(PASSPHRASE, "hunter3")
    assert "a wrong passphrase" in refused(capsys, "sign", "--key", encrypted, model)


def test_no_passphrase_and_nobody_to_ask(
    model: Path, encrypted: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert f"set {PASSPHRASE}" in refused(capsys, "sign", "--key", encrypted, model)
    assert not model.with_name("model.nip.onnx.sig").exists()


@pytest.mark.parametrize(("typed", "code"), [("hunter2", 0), ("hunter3", 2)])
def test_a_passphrase_typed_at_a_terminal(model: Path, encrypted: Path, typed: str, code: int) -> None:
    ours, theirs = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name != PASSPHRASE}
    with os.fdopen(ours, "wb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "nip_runtime.cli.main", "sign", "--key", encrypted, model],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # no terminal but the one at stdin
            env=variables,
        )
        os.close(theirs)
        assert process.stderr is not None
        # What was typed before the question is thrown away.
        asked = process.stderr.read(len(f"passphrase of {encrypted}: "))
        terminal.write(f"{typed}\n".encode())
        out, err = process.communicate(timeout=60)
    assert asked == f"passphrase of {encrypted}: "
    assert process.returncode == code, err
    assert typed not in out + err
    assert ("signed as" in out) == (code == 0)
