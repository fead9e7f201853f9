"""Keys as openssl makes them, and all that is none."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nip_runtime.errors import DependencyError, InputError
from nip_runtime.file.signing import check_signature
from nip_runtime.file.signing.keys import read_private_key, read_public_key
from tests.signing.conftest import Owner, Signed

PASSPHRASE = "correct horse"
SECRET = ("-passout", f"pass:{PASSPHRASE}")
P256 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


def openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every way to write keys that openssl has."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    folder = tmp_path_factory.mktemp("keys")
    key = folder / "pkcs8"
    openssl("genpkey", *P256, "-out", key)
    openssl("ec", "-in", key, "-out", folder / "sec1")
    openssl("ec", "-in", key, "-no_public", "-out", folder / "sec1-half")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "ecparam")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-out", folder / "ecparam-named")
    openssl("ec", "-in", key, "-aes256", *SECRET, "-out", folder / "sec1-encrypted")
    openssl("pkcs8", "-topk8", "-in", key, *SECRET, "-out", folder / "pkcs8-encrypted")
    openssl("pkcs8", "-topk8", "-scrypt", "-in", key, *SECRET, "-out", folder / "pkcs8-scrypt")
    openssl("genpkey", *P256, "-aes-256-cbc", "-pass", SECRET[1], "-out", folder / "genpkey-encrypted")
    openssl("ec", "-in", key, "-outform", "DER", "-out", folder / "private.der")
    openssl("ec", "-in", key, "-pubout", "-out", folder / "public")
    openssl("ec", "-in", key, "-pubout", "-conv_form", "compressed", "-out", folder / "public-compressed")
    openssl("ec", "-in", key, "-pubout", "-outform", "DER", "-out", folder / "public.der")
    openssl("req", "-x509", "-new", "-key", key, "-subj", "/CN=x", "-out", folder / "certificate")
    for curve in ("secp384r1", "secp521r1", "secp256k1", "brainpoolP256r1"):
        openssl("ecparam", "-name", curve, "-genkey", "-noout", "-out", folder / curve)
    for kind in ("RSA", "ED25519", "X25519"):
        openssl("genpkey", "-algorithm", kind, "-out", folder / kind)
    for name in ("secp384r1", "secp521r1", "secp256k1", "brainpoolP256r1", "RSA", "ED25519", "X25519"):
        openssl("pkey", "-in", folder / name, "-pubout", "-out", folder / f"{name}.pub")
    return folder


def derived(folder: Path) -> dict[str, bytes]:
    """Files that no tool writes, but people do."""
    private, public = (folder / "pkcs8").read_bytes(), (folder / "public").read_bytes()
    return {
        "empty": b"",
        "text": b"my key\n",
        "cut-private": private[:120],
        "cut-public": public[:120],
        "two-private": private * 2,
        "two-public": public * 2,
        "both": public + private,
        "huge": b"x" * 100_000,
        "windows-private": private.replace(b"\n", b"\r\n"),
        "windows-public": public.replace(b"\n", b"\r\n"),
        "commented-public": b"# of the model team\n" + public,
        "damaged-public": public.replace(b"MFkwEwYH", b"MFkwEwYX"),
    }


PRIVATE = ("pkcs8", "sec1", "sec1-half", "ecparam", "ecparam-named", "windows-private")
ENCRYPTED = ("sec1-encrypted", "pkcs8-encrypted", "pkcs8-scrypt", "genpkey-encrypted")
PUBLIC = ("public", "public-compressed", "windows-public", "commented-public")


@pytest.fixture(scope="module")
def keys(folder: Path) -> Path:
    for name, content in derived(folder).items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_key_signs_what_its_public_half_verifies(keys: Path, name: str) -> None:
    key = read_private_key(keys / name)
    assert key.public.verifies(key.sign(b"message"), b"message")
    assert not key.public.verifies(key.sign(b"message"), b"another")
    if not name.startswith("ecparam"):
        assert key.public.fingerprint == read_public_key(keys / "public").fingerprint


@pytest.mark.parametrize("name", ENCRYPTED)
def test_an_encrypted_key_asks_for_its_passphrase(keys: Path, name: str) -> None:
    key = read_private_key(keys / name, passphrase=lambda: PASSPHRASE)
    assert key.public.verifies(key.sign(b"message"), b"message")
    for wrong in ("", "wrong", PASSPHRASE + " ", "\udcff"):
        with pytest.raises(InputError, match="a wrong passphrase or a damaged key") as caught:
            read_private_key(keys / name, passphrase=lambda wrong=wrong: wrong)  # type: ignore[misc]
        assert "horse" not in str(caught.value)
    with pytest.raises(InputError, match="expected a passphrase for the encrypted key"):
        read_private_key(keys / name)


def test_a_key_that_is_not_encrypted_asks_for_nothing(keys: Path) -> None:
    def ask() -> str:
        raise AssertionError("asked")

    read_private_key(keys / "pkcs8", passphrase=ask)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_key_in_other_forms_is_the_same_key(keys: Path, name: str) -> None:
    assert read_public_key(keys / name).fingerprint == read_public_key(keys / "public").fingerprint


def test_the_fingerprint_is_what_sha256sum_says_of_the_file(keys: Path) -> None:
    written = hashlib.sha256((keys / "public").read_bytes()).hexdigest()
    assert read_public_key(keys / "public").fingerprint == written


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *(
            (name, "got a private key; keep it secret, never ship it")
            for name in (*PRIVATE, *ENCRYPTED, "both")
        ),
        ("public.der", "got a DER file; convert it: openssl ec -pubin -inform DER"),
        ("certificate", "got a certificate; take its key out: openssl x509"),
        ("secp384r1.pub", "got one on the curve secp384r1"),
        ("secp521r1.pub", "got one on the curve secp521r1"),
        ("secp256k1.pub", "got one on the curve secp256k1"),
        ("brainpoolP256r1.pub", "got one on the curve brainpoolP256r1"),
        ("RSA.pub", "got a key of type RSA"),
        ("ED25519.pub", "got a key of type Ed25519"),
        ("X25519.pub", "got a key of type X25519"),
        ("two-public", "got a public key and a public key"),
        ("empty", "got no PEM at all"),
        ("text", "got no PEM at all"),
        ("cut-public", "got something else"),
        ("damaged-public", "got something else"),
        ("huge", "expected a file of at most 65536 bytes"),
        ("missing", "got nothing there; check the path, or take it from the private key"),
        ("x" * 300, "got File name too long"),
        ("pipe", "got a named pipe"),
        (".", "got a folder"),
    ],
)
def test_what_is_no_public_key_is_refused(keys: Path, name: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_public_key(keys / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("public", "got a public key; name the private key alone"),
        ("both", "got a public key and a private key; name the private key alone"),
        ("two-private", "got a private key and a private key"),
        ("private.der", "got a DER file; convert it: openssl ec -inform DER"),
        ("certificate", "got a certificate; name the private key alone"),
        ("secp384r1", "got one on the curve secp384r1"),
        ("RSA", "got a key of type RSA"),
        ("ED25519", "got a key of type Ed25519"),
        ("cut-private", "got something else"),
        ("empty", "got no PEM at all"),
        ("huge", "expected a file of at most 65536 bytes"),
        ("missing", "got nothing there; check the path, or make one with: openssl ecparam"),
    ],
)
def test_what_is_no_private_key_is_refused(keys: Path, name: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_private_key(keys / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(cut=st.integers(0, 200), added=st.binary(max_size=6), removed=st.integers(0, 6))
def test_a_damaged_public_key_is_refused_or_another_key(
    owner: Owner, tmp_path_factory: pytest.TempPathFactory, cut: int, added: bytes, removed: int
) -> None:
    content = owner.public.read_bytes()
    path = tmp_path_factory.getbasetemp() / "damaged.pub"
    path.write_bytes(content[:cut] + added + content[cut + removed :])
    try:
        read_public_key(path)
    except InputError as error:
        assert str(error).isprintable()


def test_others_that_may_read_a_private_key_are_warned_of(
    owner: Owner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copied = Path(shutil.copy(owner.private, tmp_path / "key.pem"))
    for mode, warned in ((0o600, False), (0o640, True), (0o604, True), (0o400, False)):
        copied.chmod(mode)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            read_private_key(copied)
        assert ("chmod 600" in caplog.text) == warned


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_key_that_may_not_be_read(owner: Owner, tmp_path: Path) -> None:
    copied = Path(shutil.copy(owner.private, tmp_path / "key.pem"))
    copied.chmod(0)
    with pytest.raises(InputError, match="expected a readable file"):
        read_private_key(copied)


def test_without_cryptography_it_fails_and_says_what_to_install(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(DependencyError, match=r'pip install "nip-runtime\[sign\]"'):
        check_signature(signed.content, origin=signed.path, public_key=signed.owner.public)


def test_cryptography_is_loaded_when_it_is_needed_and_not_before() -> None:
    code = (
        "import sys, nip_runtime.file.signing, nip_runtime.cli.sign, nip_runtime.cli.verify\n"
        "print('cryptography' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
