"""What is written, byte by byte, against the format's description and against openssl."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nip_runtime.file.signing import sign_content
from nip_runtime.file.signing.check import verify
from nip_runtime.file.signing.statement import Statement, read_statement
from tests.signing.conftest import GOLDEN, Owner, Signed

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")


def test_the_bundle_is_what_the_format_says(packed: bytes, owner: Owner) -> None:
    bundle: dict[str, Any] = json.loads(packed)
    envelope = bundle["dsseEnvelope"]
    payload, signature = envelope.pop("payload"), envelope["signatures"][0].pop("sig")
    assert bundle == {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(owner.public.read_bytes()).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {"payloadType": "application/vnd.in-toto+json", "signatures": [{"keyid": ""}]},
    }
    digest = hashlib.sha256(GOLDEN.read_bytes())
    assert json.loads(base64.b64decode(payload)) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": GOLDEN.name, "digest": {"sha256": hashlib.sha256(digest.digest()).hexdigest()}},
        ],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": [{"name": ".", "algorithm": "sha256", "digest": digest.hexdigest()}],
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
        },
    }
    assert base64.b64decode(signature)[0] == 0x30


@needs_openssl
def test_openssl_verifies_the_signature_over_the_encoded_payload(signed: Signed, tmp_path: Path) -> None:
    envelope = json.loads(signed.bundle.read_bytes())["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    message, signature = tmp_path / "message", tmp_path / "signature"
    message.write_bytes(
        b"DSSEv1 28 application/vnd.in-toto+json " + str(len(payload)).encode() + b" " + payload
    )
    signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = ("openssl", "dgst", "-sha256", "-verify", signed.owner.public, "-signature", signature, message)
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == "Verified OK"
    message.write_bytes(message.read_bytes() + b" ")
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() != "Verified OK"


@settings(deadline=None)
@given(content=st.binary(max_size=300), name=st.text(max_size=40))
def test_whatever_is_signed_verifies_and_nothing_else_does(owner: Owner, content: bytes, name: str) -> None:
    bundle, made = sign_content(content, name=name, key=owner.key)
    assert verify(content, bundle, owner.key.public) == made
    assert (made.name, made.size_bytes) == (name, len(content))
    assert made.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert made.fingerprint == f"sha256:{hashlib.sha256(owner.public.read_bytes()).hexdigest()}"


@settings(deadline=None)
@given(name=st.text(), content=st.binary(max_size=10))
def test_a_statement_survives_its_json(name: str, content: bytes) -> None:
    statement = Statement(name=name, sha256=hashlib.sha256(content).hexdigest())
    assert read_statement(statement.encode()) == statement
