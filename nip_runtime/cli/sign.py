"""``nip sign``: writes the signature of a model file beside it."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from nip_runtime.errors import InputError
from nip_runtime.file.allowed import LIMITS
from nip_runtime.file.artifact import check_content
from nip_runtime.file.container import parse_container
from nip_runtime.file.container.wholefile import read_whole
from nip_runtime.file.signing import Signature, bundle_path, sign_content
from nip_runtime.file.signing.keys import read_private_key
from nip_runtime.support.writing import check_target, write_whole

NAME: Final = "sign"
HELP: Final = "sign a model file with a P-256 key; writes F.onnx.sig beside it"
PASSPHRASE: Final = "NIP_KEY_PASSPHRASE"


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Signs a defended file with a private key (ECDSA on P-256, SHA-256) and writes the\n"
        "signature as a bundle in the OpenSSF model-signing format. The file itself stays\n"
        "as it is. Ship the file, the bundle and, by another way, the public key."
    )
    parser.epilog = (
        "examples:\n"
        "  openssl ecparam -name prime256v1 -genkey -noout -out key.pem   # once; keep it secret\n"
        "  openssl ec -in key.pem -pubout -out pub.pem\n"
        "  nip sign --key key.pem model.nip.onnx\n"
        "  nip verify --pub pub.pem model.nip.onnx\n\n"
        f"An encrypted key's passphrase comes from the environment variable\n{PASSPHRASE},"
        " else it is asked for.\n"
        'needs: pip install "nip-runtime[sign]"\n'
        "exit code: 0 signed, 2 not"
    )
    parser.add_argument("model", metavar="F.onnx", help="defended file, made by `nip export`")
    parser.add_argument("--key", required=True, metavar="K", help="P-256 private key, PEM (PKCS#8 or SEC1)")
    parser.add_argument("--bundle", metavar="B", help="where to write the bundle (default F.onnx.sig)")
    parser.add_argument("--any", action="store_true", help="also sign an ONNX file that has no defence")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Sign, and say what was signed."""
    path, key_path = Path(args.model), Path(args.key)
    bundle = bundle_path(path) if args.bundle is None else Path(args.bundle)
    check_target(bundle)
    for taken, what in ((path, "the model"), (key_path, "the key")):
        if _is_same(bundle, taken):
            raise InputError.mismatch(expected="a path for the bundle", got=what, fix="name another --bundle")
    key = read_private_key(key_path, passphrase=partial(_passphrase, key_path))
    content = read_whole(path, LIMITS.file_bytes)
    if args.any:
        parse_container(content, origin=str(path))
    else:
        check_content(content, path)
    packed, signature = sign_content(content, name=path.name, key=key)
    write_whole(bundle, packed)
    if args.json:
        print(json.dumps({"file": str(path), "bundle": str(bundle)} | asdict(signature)))
    else:
        print("\n".join(lines(path, bundle, signature)))
    return 0


def lines(path: Path, bundle: Path, signature: Signature) -> list[str]:
    """A signature for a terminal. The name in it is quoted: it came with the bundle."""
    return [
        f"file       {path} ({signature.size_bytes} bytes)",
        f"digest     {signature.digest}",
        f"signed as  {json.dumps(signature.name)}",
        f"key        {signature.fingerprint}",
        f"bundle     {bundle}",
    ]


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one is not there
        return False


def _passphrase(key: Path) -> str:
    given = os.environ.get(PASSPHRASE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise InputError.mismatch(
            expected=f"a passphrase for the encrypted key {key}",
            got="none, and no terminal to ask at",
            fix=f"set {PASSPHRASE}",
        )
    return getpass.getpass(f"passphrase of {key}: ")
