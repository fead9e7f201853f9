"""Signatures: does each tool read the other's bundles, and is everything refused that was tampered with?

    python -m benchmarks.hardening.signing [--quick] [--save]

Golden files and files of awkward sizes are signed by `nip sign` and verified by OpenSSF's `model_signing`,
and the other way round, with keys in every form that openssl writes them. Then one bundle is changed in every
byte to each other value, in every field, in its encodings, and in its signed statement; and one file in every
byte.
"""
