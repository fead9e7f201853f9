"""Bundles between `nip` and `model_signing`, both by their command lines where these can do it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.hardening.model_signing import ModelSigning
from benchmarks.hardening.signing.tally import Tally
from benchmarks.hardening.tampering import Variant
from nip_runtime.errors import ArtifactError
from nip_runtime.file.signing import bundle_path, sign_content
from nip_runtime.file.signing.check import verify
from nip_runtime.file.signing.keys import PublicKey, read_private_key

GOLDENS: Final = Path(__file__).resolve().parents[3] / "tests" / "goldens"
POLICIES: Final = ("guarded", "detect", "always")
FORMS: Final = ("SEC1", "PKCS#8", "SEC1 encrypted", "PKCS#8 encrypted")
"""Of a private key."""
SIZES: Final = (1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_000)
"""Around the blocks in which the other tool reads."""
_PASSPHRASE: Final = "correct horse battery"


def write_keys(folder: Path) -> dict[str, Path]:
    """One key in each form; its public half beside it as ``key.pub``."""
    forms = {
        name: folder / f"{name}.pem" for name in ("SEC1", "PKCS#8", "SEC1 encrypted", "PKCS#8 encrypted")
    }
    secret = ("-passout", f"pass:{_PASSPHRASE}")
    for arguments in (
        ("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", forms["SEC1"]),
        ("pkcs8", "-topk8", "-nocrypt", "-in", forms["SEC1"], "-out", forms["PKCS#8"]),
        ("ec", "-in", forms["SEC1"], "-aes256", *secret, "-out", forms["SEC1 encrypted"]),
        ("pkcs8", "-topk8", "-in", forms["SEC1"], *secret, "-out", forms["PKCS#8 encrypted"]),
        ("ec", "-in", forms["SEC1"], "-pubout", "-out", folder / "key.pub"),
    ):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    return forms


def nip(*arguments: str | Path) -> bool:
    """Whether the command succeeds."""
    command = [sys.executable, "-m", "nip_runtime.cli.main", *arguments]
    variables = os.environ | {"NIP_KEY_PASSPHRASE": _PASSPHRASE}
    return subprocess.run(command, env=variables, capture_output=True).returncode == 0


def cross_check(tool: ModelSigning, folder: Path) -> tuple[Tally, Tally]:
    """Bundles of ours that the tool verifies, and of the tool's that we do."""
    ours, theirs = Tally(), Tally()
    keys, public = write_keys(folder), folder / "key.pub"
    for policy in POLICIES:
        model = folder / f"{policy}.onnx"
        model.write_bytes((GOLDENS / model.name).read_bytes())
        bundle = bundle_path(model)
        for form, key in keys.items():
            what = f"{policy}, {form}"
            signed = nip("sign", "--key", key, model)
            ours.add(what, right=signed and tool.verifies(model, public_key=public, bundle=bundle))
            tool.sign_otherwise(
                model, key=key, bundle=bundle, passphrase=_PASSPHRASE if "encrypted" in form else ""
            )
            theirs.add(what, right=nip("verify", "--pub", public, model))
    for size in SIZES:
        model = folder / f"{size}.bin"
        model.write_bytes(os.urandom(size))
        made, _ = sign_content(model.read_bytes(), name=model.name, key=read_private_key(keys["SEC1"]))
        bundle = bundle_path(model)
        bundle.write_bytes(made)
        ours.add(f"{size} bytes", right=tool.verifies(model, public_key=public, bundle=bundle))
        tool.sign(model, key=keys["SEC1"], bundle=bundle)
        theirs.add(f"{size} bytes", right=nip("verify", "--pub", public, model))
    return ours, theirs


def never_laxer(
    tool: ModelSigning, content: bytes, variants: list[Variant], key: PublicKey, folder: Path
) -> tuple[Tally, int]:
    """Variants that we refuse or the tool takes too; and how many the tool takes and we refuse."""
    model, bundles = folder / "guarded.onnx", folder / "variants"
    bundles.mkdir()
    theirs = tool.verdicts(
        model, public_key=folder / "key.pub", bundles=[variant.bundle for variant in variants], folder=bundles
    )
    tally, stricter = Tally(), 0
    for variant, their in zip(variants, theirs, strict=True):
        try:
            verify(content, variant.bundle, key)
            our = True
        except ArtifactError:
            our = False
        tally.add(variant.what, right=their or not our)
        stricter += their and not our
    return tally, stricter
