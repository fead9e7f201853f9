"""Manifests that are none, or say what is not so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nip_runtime.file.container.wire import encode_bytes
from tests.abuse.files.bad_file import BadFile, of_bytes, of_manifest
from tests.abuse.files.edits import set_field
from tests.abuse.files.seal import bare, manifest_text, with_text


def manifest_files() -> Iterator[BadFile]:
    """All of this kind."""

    def text(name: str, says: str, make: Callable[[], str]) -> BadFile:
        return of_bytes(f"manifest-{name}", says, lambda: with_text(bare(), make()))

    size = "expected a manifest of at most 4194304 bytes in .*, got "
    yield text("of-100-mb", size, lambda: manifest_text() + " " * 100_000_000)
    yield text("empty", "expected a manifest as JSON text", lambda: "")
    yield text("no-json", "expected a manifest as JSON text", lambda: "{'policy': guarded}")
    yield text("a-list", r"\$: expected an object", lambda: "[]")
    yield text("no-fields", r"\$\.schema_version: expected a version", lambda: "{}")
    yield text("deep", "at most 16 objects and lists in each other", lambda: "[" * 1_000_000)
    yield text("unclosed-strings", "as JSON text", lambda: '"\\' * 1_000_000)
    yield text(
        "long-number",
        "as JSON text|a whole number",
        lambda: manifest_text().replace('"seed": 20', f'"seed": {"9" * 5000}'),
    )
    yield text(
        "nan",
        "NaN, which JSON does not know",
        lambda: manifest_text().replace('"benign_budget": 0.05', '"benign_budget": NaN'),
    )
    yield text(
        "infinite",
        "a finite number",
        lambda: manifest_text().replace('"benign_budget": 0.05', '"benign_budget": 1e999'),
    )
    yield text(
        "field-twice",
        "'policy' twice",
        lambda: manifest_text().replace('"policy"', '"policy": "always", "policy"'),
    )
    yield text("many-fields-twice", "twice", lambda: "{" + '"a": 1, "b": 2, ' * 200_000 + '"c": 3}')
    yield text(
        "half-a-character",
        "text that can be written down",
        lambda: manifest_text().replace('"T-shirt/top"', '"\\ud800"'),
    )
    yield text(
        "escape-codes",
        r"\$\.\\x1b\[2J: expected only known fields",
        lambda: manifest_text().replace('"policy"', '"\\u001b[2J": 1, "policy"'),
    )
    yield of_manifest("manifest-unknown-field", "expected only known fields", set_field("extra", 1))
    yield of_manifest("manifest-newer", "upgrade nip-runtime", set_field("schema_version", "2.0"))
    yield of_manifest(
        "manifest-text-as-number",
        r"\$\.defence\.top_k: expected a whole number",
        set_field("defence.top_k", "5"),
    )
    yield of_manifest(
        "manifest-true-as-number",
        r"\$\.defence\.top_k: expected a whole number",
        set_field("defence.top_k", True),
    )
    yield of_manifest(
        "manifest-number-of-20-digits",
        r"\$\.calibration\.images: expected a whole number up to",
        set_field("calibration.images", 10**19),
    )
    yield of_manifest(
        "manifest-text-as-mean", r"\$\.input\.mean\[0\]: expected a number", set_field("input.mean", ["0.3"])
    )
    yield of_manifest(
        "manifest-null-as-std", r"\$\.input\.std\[0\]: expected a number", set_field("input.std", [None])
    )
    yield of_manifest(
        "manifest-mean-alone", r"\$\.input\.std: expected mean and std together", set_field("input.std", None)
    )
    yield of_manifest(
        "manifest-zero-std", r"\$\.input\.std: expected positive", set_field("input.std", [0.0])
    )
    yield of_manifest(
        "manifest-bounds-swapped",
        r"\$\.input\.bounds: expected low below high",
        set_field("input.bounds", [1.0, 0.0]),
    )
    yield of_manifest(
        "manifest-three-bounds",
        r"\$\.input\.bounds: expected a list of 2",
        set_field("input.bounds", [0.0, 0.5, 1.0]),
    )
    yield of_manifest("manifest-no-policy", r"\$\.policy: expected one of", set_field("policy", "none"))
    yield of_manifest(
        "manifest-other-classes",
        r"expected graph output logits float32 \(N, 11\)",
        lambda d: d["output"].update(classes=11, class_names=None),
    )
    yield of_manifest(
        "manifest-class-names",
        r"\$\.output\.class_names: expected 10 names",
        set_field("output.class_names", ["a"] * 9),
    )
    yield of_manifest(
        "manifest-other-shape", r"got float32 \(N, 1, 28, 28\)", set_field("input.shape", [1, 32, 32])
    )
    yield of_manifest(
        "manifest-other-opset", "expected opset 18, got opset 17", set_field("provenance.opset", 18)
    )
    yield of_manifest(
        "manifest-other-digest",
        "the graph was changed after export",
        set_field("digests.graph", "sha256:" + "0" * 64),
    )
    yield of_manifest(
        "manifest-no-digest", r"\$\.digests\.graph: expected sha256", set_field("digests.graph", "")
    )
    yield of_manifest(
        "manifest-wrong-rate",
        r"\$\.calibration\.flag_rate\.value: expected",
        set_field("calibration.flag_rate.value", 0.9),
    )
    yield of_manifest(
        "manifest-long-wrong-value", "export the model again$", set_field("input.mean", [0.5] * 100_000)
    )
    yield of_bytes("metadata-entries", "at most 64 metadata entries", _entries)


def _entries() -> bytes:
    content = with_text(bare(), manifest_text())
    return content + b"".join(
        encode_bytes(14, encode_bytes(1, f"k{i}") + encode_bytes(2, "v")) for i in range(100)
    )
