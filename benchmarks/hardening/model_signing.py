"""OpenSSF's ``model_signing``, in an environment of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.hardening.pinned import make_environment, run_outside

REQUIREMENTS: Final = Path(__file__).resolve().parents[2] / "tests" / "environments" / "model_signing.txt"
_VERDICTS: Final = """
import json, sys
from pathlib import Path
from model_signing import verifying
file, public, folder = map(Path, sys.argv[1:4])
verdicts = []
for index in range(int(sys.argv[4])):
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public)
        config.verify(file, folder / f"{index}.sig")
        verdicts.append(True)
    except Exception:
        verdicts.append(False)
print(json.dumps(verdicts))
"""
_SIGN: Final = """
import sys
from pathlib import Path
from model_signing import hashing, signing
file, key, bundle, way, algorithm, passphrase = sys.argv[1:7]
config = hashing.Config()
use = config.use_shard_serialization if way == "shards" else config.use_file_serialization
config = use(hashing_algorithm=algorithm)
signer = signing.Config().use_elliptic_key_signer(private_key=key, password=passphrase.encode() or None)
signer.set_hashing_config(config).sign(Path(file), bundle)
"""


class ModelSigning:
    """The tool's command line, and its library where the command line has no option or is too slow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._python = make_environment(REQUIREMENTS, folder)

    def sign(self, model: Path, *, key: Path, bundle: Path) -> None:
        """``model_signing sign key``. Its option ``--password`` does not work in this release."""
        named = ("--private_key", key, "--signature", bundle)
        code, said = self._run("-m", "model_signing", "sign", "key", *named, model)
        if code != 0:
            raise RuntimeError(f"model_signing can't sign {model}: {said}")

    def sign_otherwise(
        self,
        model: Path,
        *,
        key: Path,
        bundle: Path,
        way: str = "files",
        algorithm: str = "sha256",
        passphrase: str = "",
    ) -> None:
        """Sign by "files" or "shards" with "sha256", "blake2" or "blake3", or with an encrypted key."""
        code, said = self._run("-c", _SIGN, model, key, bundle, way, algorithm, passphrase)
        if code != 0:
            raise RuntimeError(f"model_signing can't sign {model}: {said}")

    def verifies(self, model: Path, *, public_key: Path, bundle: Path) -> bool:
        """``model_signing verify key``: whether it succeeds."""
        named = ("--public_key", public_key, "--signature", bundle)
        code, said = self._run("-m", "model_signing", "verify", "key", *named, model)
        # Broken tools fail too: only its own two answers count.
        if ("Verification succeeded" in said) != (code == 0) or (code and "Verification failed" not in said):
            raise RuntimeError(f"model_signing is broken: exit code {code}, {said}")
        return code == 0

    def verdicts(
        self, model: Path, *, public_key: Path, bundles: Sequence[bytes], folder: Path
    ) -> list[bool]:
        """Whether it verifies each of these bundles, which are written to an existing ``folder``."""
        for index, bundle in enumerate(bundles):
            (folder / f"{index}.sig").write_bytes(bundle)
        code, said = self._run("-c", _VERDICTS, model, public_key, folder, str(len(bundles)))
        if code != 0:
            raise RuntimeError(f"model_signing is broken: exit code {code}, {said}")
        verdicts: list[bool] = json.loads(said.splitlines()[-1])
        return verdicts

    def _run(self, *arguments: str | Path) -> tuple[int, str]:
        done = run_outside(self._python, *arguments, cwd=self._folder)
        return done.returncode, f"{done.stderr}{done.stdout}"
