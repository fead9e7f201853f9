"""Bundles and files that were tampered with: each refused with one clear ArtifactError."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.hardening.tampering import harmless, sign_payload, tampered
from benchmarks.hardening.tampering.edits import at, put
from nip_runtime.errors import ArtifactError
from nip_runtime.file.signing import check_signature, sign_content
from nip_runtime.file.signing.check import verify
from nip_runtime.file.signing.envelope import decode_bundle
from tests.signing.conftest import GOLDEN, Owner, Signed

CONTENT = GOLDEN.read_bytes()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
PLACES = (
    (),
    ("mediaType",),
    ("verificationMaterial",),
    ("verificationMaterial", "publicKey"),
    ("verificationMaterial", "publicKey", "hint"),
    ("verificationMaterial", "tlogEntries"),
    ("dsseEnvelope",),
    ("dsseEnvelope", "payload"),
    ("dsseEnvelope", "payloadType"),
    ("dsseEnvelope", "signatures"),
    ("dsseEnvelope", "signatures", 0),
    ("dsseEnvelope", "signatures", 0, "sig"),
    ("dsseEnvelope", "signatures", 0, "keyid"),
    ("anything",),
)
STATED = (
    (),
    ("_type",),
    ("subject",),
    ("subject", 0),
    ("subject", 0, "digest"),
    ("subject", 0, "digest", "sha256"),
    ("predicateType",),
    ("predicate",),
    ("predicate", "resources"),
    ("predicate", "resources", 0),
    ("predicate", "resources", 0, "name"),
    ("predicate", "resources", 0, "digest"),
    ("predicate", "serialization"),
    ("predicate", "serialization", "method"),
    ("predicate", "serialization", "ignore_paths"),
    ("predicate", "anything"),
)


def refusal(content: bytes, bundle: bytes, owner: Owner) -> str:
    """The one line that refuses this."""
    with pytest.raises(ArtifactError) as caught:
        verify(content, bundle, owner.key.public)
    said = str(caught.value)
    assert said.isprintable(), said
    assert said.startswith("expected ") and ", got " in said and "; " in said
    assert len(said) < 500
    return said


def test_every_tampered_bundle_is_refused(packed: bytes, owner: Owner) -> None:
    tried = 0
    for variant in tampered(packed, owner.key, values=2):
        try:
            refusal(CONTENT, variant.bundle, owner)
        except BaseException as error:
            raise AssertionError(variant.what) from error
        tried += 1
    assert tried > 3000


def test_what_says_the_same_is_taken(packed: bytes, owner: Owner) -> None:
    wanted = verify(CONTENT, packed, owner.key.public)
    for variant in harmless(packed):
        assert variant.bundle != packed
        assert verify(CONTENT, variant.bundle, owner.key.public) == wanted, variant.what


def test_a_changed_file_is_refused(packed: bytes, owner: Owner) -> None:
    for position in range(0, len(CONTENT), 997):
        changed = bytearray(CONTENT)
        changed[position] ^= 1
        assert "the file was changed" in refusal(bytes(changed), packed, owner)
    for other in (b"", CONTENT[:-1], CONTENT[1:], CONTENT + b"\0", CONTENT * 2, CONTENT[::-1]):
        assert "the file was changed" in refusal(other, packed, owner)


def test_another_key_is_named(packed: bytes, stranger: Owner) -> None:
    said = refusal(CONTENT, packed, stranger)
    assert f"expected a signature by the key sha256:{stranger.key.public.fingerprint}" in said


def test_a_forged_hint_does_not_help(packed: bytes, owner: Owner, stranger: Owner) -> None:
    place = ("verificationMaterial", "publicKey", "hint")
    forged = json.dumps(put(json.loads(packed), place, stranger.key.public.fingerprint)).encode()
    assert "a signature that does not fit" in refusal(CONTENT, forged, stranger)
    # And the other way round: a stranger's signature that names the owner's key.
    strangers, _ = sign_content(CONTENT, name="x", key=stranger.key)
    forged = json.dumps(put(json.loads(strangers), place, owner.key.public.fingerprint)).encode()
    assert "a signature that does not fit" in refusal(CONTENT, forged, owner)


def test_a_bundle_of_another_file_is_refused(owner: Owner) -> None:
    other = GOLDEN.with_name("detect.onnx")
    bundle, _ = sign_content(other.read_bytes(), name=other.name, key=owner.key)
    said = refusal(CONTENT, bundle, owner)
    assert 'signed as "detect.onnx"' in said and "belongs to another" in said


def test_a_name_in_a_statement_reaches_no_terminal(owner: Owner) -> None:
    bundle, _ = sign_content(b"other", name="\x1b[2J\n\u202eevil" + "x" * 1000, key=owner.key)
    said = refusal(CONTENT, bundle, owner)
    assert "\\u001b[2J\\n\\u202eevil" in said


def test_paths_that_were_ignored_beside_the_file_do_no_harm(packed: bytes, owner: Owner) -> None:
    document = json.loads(decode_bundle(packed).payload)
    place = ("predicate", "serialization", "ignore_paths")
    for ignored in ([], [".git", ".gitattributes", ".github", ".gitignore"], ["a/b"]):
        bundle = sign_payload(json.dumps(put(document, place, ignored)).encode(), owner.key)
        assert verify(CONTENT, bundle, owner.key.public).name == GOLDEN.name


@settings(deadline=None)
@given(bundle=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_other_file_is_no_bundle(owner: Owner, bundle: bytes) -> None:
    refusal(CONTENT, bundle, owner)


def meaning(bundle: bytes) -> object:
    """The document without the fields that may be missing; the bytes if it is none."""
    try:
        # As text: of bytes, json would take UTF-16 and a byte-order mark too.
        document = json.loads(bundle.decode())
        if document["verificationMaterial"].get("tlogEntries") == []:
            del document["verificationMaterial"]["tlogEntries"]
        if document["dsseEnvelope"]["signatures"][0].get("keyid") == "":
            del document["dsseEnvelope"]["signatures"][0]["keyid"]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return bundle
    return document


SPLICE = st.tuples(
    st.integers(0, 1300),
    st.integers(0, 4),
    st.binary(max_size=4) | st.sampled_from([b" ", b'"', b"\\", b"{", b"}", b"[]", b",", b'":"', b"\\u0041"]),
)


@settings(max_examples=300, deadline=None)
@given(splices=st.lists(SPLICE, min_size=1, max_size=3))
def test_a_change_of_bytes_is_refused_or_changes_nothing_in_the_document(
    packed: bytes, owner: Owner, splices: list[tuple[int, int, bytes]]
) -> None:
    changed = packed
    for position, removed, added in splices:
        changed = changed[:position] + added + changed[position + removed :]
    if meaning(changed) == meaning(packed):
        verify(CONTENT, changed, owner.key.public)
    else:
        refusal(CONTENT, changed, owner)


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(PLACES), value=JSON)
def test_any_value_anywhere_in_a_bundle_is_refused(
    packed: bytes, owner: Owner, place: tuple[str | int, ...], value: Any
) -> None:
    document = json.loads(packed)
    if place == ("anything",) or json.dumps(value) != json.dumps(at(document, place)):
        refusal(CONTENT, json.dumps(put(document, place, value)).encode(), owner)


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(STATED), value=JSON)
def test_any_value_anywhere_in_a_signed_statement_is_refused(
    packed: bytes, owner: Owner, place: tuple[str | int, ...], value: Any
) -> None:
    document = json.loads(decode_bundle(packed).payload)
    if place[-1:] == ("ignore_paths",) and isinstance(value, list):
        return  # paths may stand there: tested above
    bundle = sign_payload(json.dumps(put(document, place, value)).encode(), owner.key)
    refusal(CONTENT, bundle, owner)


class TestFiles:
    """Through the file system."""

    def check(self, signed: Signed, *, bundle: Path | None = None) -> str:
        with pytest.raises(ArtifactError) as caught:
            check_signature(signed.content, origin=signed.path, public_key=signed.owner.public, bundle=bundle)
        said = str(caught.value)
        assert said.isprintable()
        return said

    def test_good(self, signed: Signed) -> None:
        found = check_signature(signed.content, origin=signed.path, public_key=str(signed.owner.public))
        assert found.name == signed.path.name

    def test_a_renamed_file_verifies_and_says_its_old_name(self, signed: Signed, tmp_path: Path) -> None:
        renamed = signed.path.rename(tmp_path / "new.onnx")
        signed.bundle.rename(tmp_path / "new.onnx.sig")
        found = check_signature(renamed.read_bytes(), origin=renamed, public_key=signed.owner.public)
        assert found.name == "model.nip.onnx"

    def test_no_bundle(self, signed: Signed) -> None:
        signed.bundle.unlink()
        assert f"{signed.path}.sig, got nothing there" in self.check(signed)

    def test_a_bundle_elsewhere(self, signed: Signed, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        moved = signed.bundle.rename(tmp_path / "deep" / "m.sig")
        check_signature(signed.content, origin=signed.path, public_key=signed.owner.public, bundle=moved)
        assert "got nothing there" in self.check(signed)

    def test_a_folder_as_bundle(self, signed: Signed, tmp_path: Path) -> None:
        assert "got a folder" in self.check(signed, bundle=tmp_path)

    def test_a_device_as_bundle(self, signed: Signed) -> None:
        assert "got a device" in self.check(signed, bundle=Path("/dev/zero"))

    def test_a_bundle_of_many_megabytes_is_not_read(self, signed: Signed) -> None:
        with signed.bundle.open("r+b") as file:
            file.truncate(64 << 20)
        tracemalloc.start()
        try:
            assert "got 67108864 bytes" in self.check(signed)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()

    def test_the_error_names_both_files(self, signed: Signed) -> None:
        signed.bundle.write_bytes(b"{}")
        assert self.check(signed).startswith(f"{signed.path}, signature {signed.bundle}: expected ")
