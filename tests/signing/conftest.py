from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from nip_runtime.file.signing import bundle_path, sign_content
from nip_runtime.file.signing.keys import PrivateKey

GOLDEN = Path(__file__).parents[1] / "goldens" / "guarded.onnx"


@dataclass(frozen=True)
class Owner:
    """A key and its two files."""

    key: PrivateKey
    private: Path
    public: Path


@dataclass(frozen=True)
class Signed:
    """A defended file, its bundle beside it, and who signed it."""

    path: Path
    owner: Owner

    @property
    def content(self) -> bytes:
        return self.path.read_bytes()

    @property
    def bundle(self) -> Path:
        return bundle_path(self.path)


def make_owner(folder: Path, name: str) -> Owner:
    made = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.touch(mode=0o600)
    private.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return Owner(PrivateKey(made), private, public)


@pytest.fixture(scope="session")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Owner:
    return make_owner(tmp_path_factory.mktemp("owner"), "owner")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Owner:
    return make_owner(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture
def signed(tmp_path: Path, owner: Owner) -> Signed:
    path = tmp_path / "model.nip.onnx"
    shutil.copy(GOLDEN, path)
    bundle, _ = sign_content(path.read_bytes(), name=path.name, key=owner.key)
    made = Signed(path, owner)
    made.bundle.write_bytes(bundle)
    return made


@pytest.fixture(scope="session")
def packed(owner: Owner) -> bytes:
    """A bundle over the golden file."""
    return sign_content(GOLDEN.read_bytes(), name=GOLDEN.name, key=owner.key)[0]
