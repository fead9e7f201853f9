"""A session that requires a signature opens nothing else."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.hardening.signing.refusals import sessions_refused
from benchmarks.hardening.tampering import Variant
from benchmarks.hardening.tampering.bundles import field_variants
from benchmarks.hardening.tampering.signatures import signature_variants
from benchmarks.hardening.tampering.statements import encoding_variants
from nip_runtime import DefendedSession
from nip_runtime.errors import ArtifactError, DependencyError, InputError
from nip_runtime.run.engine.choose import OpenAgain, open_engine
from tests.signing.conftest import GOLDEN, Owner, Signed


def open_session(signed: Signed, public: Path | None = None) -> DefendedSession:
    public = signed.owner.public if public is None else public
    return DefendedSession(signed.path, device="cpu", threads=1, require_signature=public)


def refusal(signed: Signed, public: Path | None = None) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_session(signed, public)
    return str(caught.value)


def test_a_signed_file_runs(signed: Signed) -> None:
    golden = np.load(GOLDEN.with_suffix(".npz"))
    with open_session(signed) as session:
        assert (session.predict(golden["images"]).labels == golden["labels"]).all()


def test_bytes_are_verified_by_a_signature_given_with_them(signed: Signed, tmp_path: Path) -> None:
    golden = np.load(GOLDEN.with_suffix(".npz"))
    content, public = signed.path.read_bytes(), signed.owner.public
    for bundle in (signed.bundle, str(signed.bundle), signed.bundle.read_bytes()):
        with DefendedSession(
            content, device="cpu", threads=1, require_signature=public, signature=bundle
        ) as session:
            assert (session.predict(golden["images"]).labels == golden["labels"]).all()
            with pickle.loads(pickle.dumps(session)) as copy:
                assert (copy.predict(golden["images"]).labels == golden["labels"]).all()
    elsewhere = shutil.move(signed.bundle, tmp_path / "kept-elsewhere.sig")
    DefendedSession(signed.path, device="cpu", require_signature=public, signature=elsewhere).close()
    with pytest.raises(ArtifactError, match="the file was changed"):
        DefendedSession(content + b"\0", device="cpu", require_signature=public, signature=elsewhere)
    with pytest.raises(InputError, match="expected the signature of a file that is given as its bytes"):
        DefendedSession(content, device="cpu", require_signature=public)
    with pytest.raises(InputError, match="expected require_signature beside signature"):
        DefendedSession(content, device="cpu", signature=elsewhere)


def test_what_is_not_signed_does_not(signed: Signed, stranger: Owner) -> None:
    assert "expected a signature by the key" in refusal(signed, stranger.public)
    signed.bundle.unlink()
    assert "got nothing there" in refusal(signed)
    # Without the demand the same file opens: what is refused is the missing signature.
    DefendedSession(signed.path, device="cpu", threads=1).close()


def test_another_good_file_under_a_signed_name_does_not_run(signed: Signed) -> None:
    shutil.copy(GOLDEN.with_name("always.onnx"), signed.path)
    assert "the file was changed" in refusal(signed)


def test_the_signature_is_judged_before_the_file_is_parsed(signed: Signed) -> None:
    signed.path.write_bytes(b"this is no ONNX file")
    assert "the file was changed" in refusal(signed)


def test_a_private_key_is_no_public_key(signed: Signed) -> None:
    with pytest.raises(InputError, match="never ship it"):
        open_session(signed, signed.owner.private)


def test_no_session_opens_on_a_tampered_bundle(signed: Signed, tmp_path: Path) -> None:
    key, bundle = signed.owner.key, signed.bundle.read_bytes()
    shutil.copy(signed.owner.public, tmp_path / "key.pub")
    variants = [*signature_variants(bundle), *encoding_variants(bundle, key), *field_variants(bundle)]
    tally = sessions_refused(signed.content, variants, tmp_path)
    assert tally.wrong == []
    assert tally.right == len(variants) > 300
    # A bundle that is good would have been told from them.
    assert sessions_refused(signed.content, [Variant("good", bundle)], tmp_path).wrong == ["opened: good"]


def test_without_cryptography_nothing_opens(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(DependencyError, match=r"nip-runtime\[sign\]"):
        open_session(signed)


def test_the_demand_holds_when_a_session_opens_its_file_again(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does to fall back on the CPU when the memory of a GPU runs out."""
    asked: list[OpenAgain] = []

    def listening(*arguments: Any, open_again: OpenAgain, **options: Any) -> Any:
        asked.append(open_again)
        return open_engine(*arguments, open_again=open_again, **options)

    monkeypatch.setattr("nip_runtime.session.open_engine", listening)
    open_session(signed).close()
    (again,) = asked
    with again() as (_, content):
        assert bytes(content[:]) == signed.content
    signed.bundle.unlink()  # the file itself is as it was
    with pytest.raises(ArtifactError, match="got nothing there"), again():
        pass


def test_paths_of_file_and_key_hold_in_another_folder(
    signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(signed.path.parent)
    public = Path(shutil.copy(signed.owner.public, "key.pub"))
    with DefendedSession(signed.path.name, device="cpu", threads=1, require_signature=str(public)) as session:
        packed = pickle.dumps(session)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pickle.loads(packed).close()


def test_the_demand_travels_with_a_pickled_session(signed: Signed) -> None:
    with open_session(signed) as session:
        packed = pickle.dumps(session)
    with pickle.loads(packed) as copy:
        assert copy.path == signed.path
    shutil.copy(GOLDEN.with_name("always.onnx"), signed.path)
    with pytest.raises(ArtifactError, match="the file was changed"):
        pickle.loads(packed)
