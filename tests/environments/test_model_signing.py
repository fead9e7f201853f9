"""Bundles against OpenSSF's ``model_signing`` in its own environment: each reads what the other wrote."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from benchmarks.hardening.model_signing import REQUIREMENTS, ModelSigning
from benchmarks.hardening.tampering import harmless, tampered
from nip_runtime import DefendedSession
from nip_runtime.cli.main import main
from nip_runtime.errors import ArtifactError
from nip_runtime.file.signing import bundle_path, check_signature, sign_content
from nip_runtime.file.signing.check import verify
from nip_runtime.file.signing.keys import read_private_key

pytestmark = pytest.mark.slow

GOLDENS = Path(__file__).parents[1] / "goldens"
PASSPHRASE = "correct horse"


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> ModelSigning:
    return ModelSigning(tmp_path_factory.mktemp("model_signing"))


def write_key(path: Path, key: ec.EllipticCurvePrivateKey, *, kind: str = "PKCS8") -> Path:
    forms: dict[str, tuple[PrivateFormat, KeySerializationEncryption]] = {
        "PKCS8": (PrivateFormat.PKCS8, NoEncryption()),
        "SEC1": (PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        "encrypted": (PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode())),
    }
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, *forms[kind]))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_suffix(".pub")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDENS / "guarded.onnx", tmp_path / "model.nip.onnx"))


def test_the_environment_is_pinned() -> None:
    pins = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert "model-signing==1.1.1" in pins
    assert all("==" in pin for pin in pins)


@pytest.mark.parametrize("kind", ["PKCS8", "SEC1", "encrypted"])
def test_each_verifies_what_the_other_signed(
    tool: ModelSigning, tmp_path: Path, model: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()), kind=kind)
    public, bundle = key.with_suffix(".pub"), bundle_path(model)
    monkeypatch.setenv("NIP_KEY_PASSPHRASE", PASSPHRASE)
    assert main(["sign", "--key", str(key), str(model)]) == 0
    assert tool.verifies(model, public_key=public, bundle=bundle)
    bundle.unlink()
    if kind == "encrypted":
        tool.sign_otherwise(model, key=key, bundle=bundle, passphrase=PASSPHRASE)
    else:
        tool.sign(model, key=key, bundle=bundle)
    assert main(["verify", "--pub", str(public), str(model)]) == 0
    DefendedSession(model, device="cpu", threads=1, require_signature=public).close()


def test_both_take_a_renamed_file_and_neither_a_changed_one(
    tool: ModelSigning, model: Path, key: Path, public: Path
) -> None:
    bundle = bundle_path(model)
    assert main(["sign", "--key", str(key), str(model)]) == 0
    renamed = model.rename(model.with_name("renamed.onnx"))
    named = ["verify", "--pub", str(public), "--bundle", str(bundle), str(renamed)]
    assert main(named) == 0
    assert tool.verifies(renamed, public_key=public, bundle=bundle)
    renamed.write_bytes(renamed.read_bytes() + b"\0")
    assert main(named) == 2
    assert not tool.verifies(renamed, public_key=public, bundle=bundle)


def test_neither_takes_a_strangers_key(tool: ModelSigning, tmp_path: Path, model: Path, key: Path) -> None:
    stranger = write_key(tmp_path / "stranger.pem", ec.generate_private_key(ec.SECP256R1())).with_suffix(
        ".pub"
    )
    assert main(["sign", "--key", str(key), str(model)]) == 0
    assert main(["verify", "--pub", str(stranger), str(model)]) == 2
    assert not tool.verifies(model, public_key=stranger, bundle=bundle_path(model))


def test_nothing_is_taken_that_the_tool_refuses(
    tool: ModelSigning, tmp_path: Path, model: Path, key: Path, public: Path
) -> None:
    owner = read_private_key(key)
    content = model.read_bytes()
    good, _ = sign_content(content, name=model.name, key=owner)
    variants = [*harmless(good), *tampered(good, owner, values=1)]
    folder = tmp_path / "bundles"
    folder.mkdir()
    bundles = [variant.bundle for variant in variants]
    theirs = tool.verdicts(model, public_key=public, bundles=bundles, folder=folder)
    ours = []
    for variant in variants:
        try:
            verify(content, variant.bundle, owner.public)
            ours.append(True)
        except ArtifactError:
            ours.append(False)
    assert sum(ours) == len(list(harmless(good)))
    looser = [variant.what for variant, our, their in zip(variants, ours, theirs, strict=True) if our > their]
    assert looser == []
    # The tool is the laxer one, which shows that its verdicts are verdicts.
    stricter = {
        variant.what for variant, our, their in zip(variants, ours, theirs, strict=True) if our < their
    }
    assert "the signature twice" in stricter
    assert len(stricter) < 200, sorted(stricter)


@pytest.mark.parametrize(
    ("way", "algorithm"), [("files", "blake2"), ("files", "blake3"), ("shards", "sha256")]
)
def test_other_ways_to_hash_are_refused_by_name(
    tool: ModelSigning, model: Path, key: Path, public: Path, way: str, algorithm: str
) -> None:
    bundle = bundle_path(model)
    tool.sign_otherwise(model, key=key, bundle=bundle, way=way, algorithm=algorithm)
    with pytest.raises(ArtifactError, match="serialization"):
        check_signature(model.read_bytes(), origin=model, public_key=public)


def test_a_signed_folder_is_no_signed_file(tool: ModelSigning, model: Path, key: Path, public: Path) -> None:
    folder = model.with_name("folder")
    folder.mkdir()
    shutil.copy(model, folder)
    bundle = bundle_path(model)
    tool.sign(folder, key=key, bundle=bundle)
    assert not tool.verifies(model, public_key=public, bundle=bundle)
    with pytest.raises(ArtifactError, match="one over a folder"):
        check_signature(model.read_bytes(), origin=model, public_key=public)


def test_another_curve_is_refused(tool: ModelSigning, tmp_path: Path, model: Path, public: Path) -> None:
    key = write_key(tmp_path / "p384.pem", ec.generate_private_key(ec.SECP384R1()))
    tool.sign(model, key=key, bundle=bundle_path(model))
    with pytest.raises(ArtifactError, match="expected a signature by the key"):
        check_signature(model.read_bytes(), origin=model, public_key=public)
    assert main(["verify", "--pub", str(key.with_suffix(".pub")), str(model)]) == 2


def test_the_statements_are_the_same_but_for_what_git_adds(
    tool: ModelSigning, model: Path, key: Path
) -> None:
    bundle = bundle_path(model)
    tool.sign(model, key=key, bundle=bundle)
    theirs = json.loads(bundle.read_bytes())
    assert main(["sign", "--key", str(key), str(model)]) == 0
    ours = json.loads(bundle.read_bytes())
    statements = [
        json.loads(base64.b64decode(made["dsseEnvelope"].pop("payload"))) for made in (theirs, ours)
    ]
    ignored = statements[0]["predicate"]["serialization"].pop("ignore_paths")
    assert sorted(ignored) == [".git", ".gitattributes", ".github", ".gitignore"]
    assert statements[0] == statements[1]
    for made in (theirs, ours):
        del made["dsseEnvelope"]["signatures"][0]["sig"]
    assert theirs == ours
