"""Signatures of model files: P-256 keys and bundles that OpenSSF's ``model_signing`` reads and writes.

A bundle is a Sigstore bundle v0.3 as JSON. It holds a DSSE envelope, whose payload is an in-toto statement
with the SHA-256 of the file. Everything needs the extra ``sign``, loaded when first used.

Source: https://github.com/sigstore/model-transparency, release 1.1.1, signing with elliptic-curve keys.
"""

from nip_runtime.file.signing.check import Signature, bundle_path, check_signature
from nip_runtime.file.signing.make import sign_content

__all__ = ["Signature", "bundle_path", "check_signature", "sign_content"]
