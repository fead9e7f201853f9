"""The signed statement: which bytes, under which name.

As ``model_signing`` states a single file: one resource named ".", because the file is the whole model, and a
subject whose digest is the SHA-256 of that resource's digest. The subject's name is the file's when it was
signed; it informs and binds nothing, so a signed file may be renamed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.signing.document import Document, parse, shown

_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_WHOLE: Final = "."
_ALGORITHM: Final = "sha256"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a signer states.

    Attributes:
        name: of the file when it was signed.
        sha256: of its bytes, 64 hexadecimal digits.
    """

    name: str
    sha256: str

    @property
    def root(self) -> str:
        """The subject's digest, in hexadecimal digits: SHA-256 of the resources' digests, here of one."""
        return hashlib.sha256(bytes.fromhex(self.sha256)).hexdigest()

    def encode(self) -> bytes:
        """The JSON that is signed."""
        resource = {"name": _WHOLE, "algorithm": _ALGORITHM, "digest": self.sha256}
        statement = {
            "_type": _TYPE,
            "subject": [{"name": self.name, "digest": {_ALGORITHM: self.root}}],
            "predicateType": _PREDICATE_TYPE,
            "predicate": {
                "resources": [resource],
                "serialization": {"method": "files", "hash_type": _ALGORITHM, "allow_symlinks": False},
            },
        }
        return json.dumps(statement, indent=2).encode()


def read_statement(payload: bytes) -> Statement:
    """Read a statement about one file, hashed whole with SHA-256.

    Fields that this version does not know are errors: one that limits what is stated must not go unseen.

    Raises:
        ArtifactError: if it is another statement, or one about a folder, several files, pieces of a file or
            another digest; or if its digests contradict each other.
    """
    top = parse(payload, where="statement").fields("_type", "subject", "predicateType", "predicate")
    top["_type"].must_be(_TYPE)
    top["predicateType"].must_be(_PREDICATE_TYPE)
    subject = top["subject"].only("subject").fields("name", "digest")
    predicate = top["predicate"].fields("resources", "serialization")
    _check_serialization(predicate["serialization"])
    resource = predicate["resources"].only("file").fields("name", "algorithm", "digest")
    if resource["name"].text() != _WHOLE:
        raise ArtifactError.mismatch(
            expected='a signature over one file (resource ".")',
            got=f"one over a folder with {shown(resource['name'].value)}",
            fix="sign the file itself",
        )
    resource["algorithm"].must_be(_ALGORITHM)
    statement = Statement(name=subject["name"].text(), sha256=resource["digest"].sha256())
    root = subject["digest"].fields(_ALGORITHM)[_ALGORITHM]
    if root.sha256() != statement.root:
        raise root.wrong(f"{statement.root}, the digest of the resources,")
    return statement


def _check_serialization(document: Document) -> None:
    found = document.fields("method", "hash_type", "allow_symlinks", optional=("ignore_paths",))
    found["method"].must_be("files")
    found["hash_type"].must_be(_ALGORITHM)
    found["allow_symlinks"].must_be(False, True)
    if "ignore_paths" not in found:
        return
    for ignored in found["ignore_paths"].items():
        path = PurePosixPath(ignored.text())
        # model_signing lists git's own files even here. One that covers the file itself would unsign it.
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise ignored.wrong("a path below the model")
