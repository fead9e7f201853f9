"""``nip verify``: whether a key's owner signed this very file."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

from nip_runtime.cli.sign import lines
from nip_runtime.file.allowed import LIMITS
from nip_runtime.file.container.wholefile import read_whole
from nip_runtime.file.signing import bundle_path, check_signature

NAME: Final = "verify"
HELP: Final = "check that a model file is the one that a key's owner signed"


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Checks the signature of a model file: that the owner of this public key signed\n"
        "these very bytes. Nothing in the file is parsed or run. Its name takes no part:\n"
        "a renamed file verifies, and the output says under which name it was signed."
    )
    parser.epilog = (
        "examples:\n"
        "  nip verify --pub pub.pem model.nip.onnx\n"
        "  nip verify --pub pub.pem --bundle signatures/model.sig model.nip.onnx\n\n"
        "The same, without this package:\n"
        "  model_signing verify key --public_key pub.pem --signature model.nip.onnx.sig \\\n"
        "      model.nip.onnx\n\n"
        "The key's digest is what `sha256sum pub.pem` says of a file from openssl: compare it\n"
        "with the one that the signer tells you.\n"
        'needs: pip install "nip-runtime[sign]"\n'
        "exit code: 0 the signature holds, 2 it does not or could not be checked"
    )
    parser.add_argument("model", metavar="F.onnx", help="the file; any file, in fact")
    parser.add_argument("--pub", required=True, metavar="P", help="the signer's P-256 public key, PEM")
    parser.add_argument("--bundle", metavar="B", help="the signature (default F.onnx.sig)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Verify, and say what holds."""
    path = Path(args.model)
    bundle = bundle_path(path) if args.bundle is None else Path(args.bundle)
    content = read_whole(path, LIMITS.file_bytes)
    signature = check_signature(content, origin=path, public_key=args.pub, bundle=bundle)
    if args.json:
        print(json.dumps({"file": str(path), "bundle": str(bundle)} | asdict(signature)))
    else:
        print("\n".join(["signature holds", *lines(path, bundle, signature)]))
    return 0
