"""The whole manifest: its parts, who wrote it and when, digests, versions.

All are frozen dataclasses that refuse bad values at birth, naming field and value. The parts stand in the
modules beside this one.

``schema-1.json`` beside this module states the same for other languages; a test keeps the two in step.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any, Final

from nip_runtime.file.manifest.checks import require
from nip_runtime.file.manifest.choices import Policy, Precision
from nip_runtime.file.manifest.defence import DefenceInfo, GateInfo, SecondPassInfo, SettingsInfo
from nip_runtime.file.manifest.ends import InputSpec, OutputSpec
from nip_runtime.file.manifest.honesty import CoverageInfo, VerdictInfo
from nip_runtime.file.manifest.measured import CalibrationInfo, ConversionInfo, VerificationInfo
from nip_runtime.file.rates import Rate

SCHEMA_VERSION: Final = "1.4"
"""Version this package writes. A reader refuses another major and ignores what a newer minor adds.

1.1 added ``precision``, ``conversion`` and ``settings``; 1.2 ``flag_rate_all``; 1.3 ``gate``; 1.4
``coverage``, ``verdict``, ``second_pass``, ``input.sound``, ``input.preprocess`` and
``calibration.labels``."""

_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_UTC_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Digests:
    """SHA-256 digests, each "sha256:" and 64 hex digits. ``graph`` covers the file's GraphProto bytes."""

    graph: str
    weights: str
    profile_data: str
    calibration_data: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            require(_DIGEST.fullmatch(value) is not None, field.name, "sha256: and 64 hex digits", value)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """When and with what the file was made. ``created`` is ISO 8601 in UTC."""

    created: str
    tool: str
    torch: str
    onnx_ir: str
    onnxruntime: str
    opset: int
    seed: int

    def __post_init__(self) -> None:
        require(_UTC_TIME.fullmatch(self.created) is not None, "created", "ISO 8601 in UTC", self.created)
        require(self.opset >= 1, "opset", "at least 1", self.opset)
        require(self.seed >= 0, "seed", "0 or more", self.seed)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a defended file says about itself. Read one with :func:`read_manifest`.

    ``conversion`` is None for fp32, ``settings``, ``flag_rate_all``, ``gate``, ``coverage``, ``verdict`` and
    ``second_pass`` where the file is older than them: see `ADDED`. ``flag_rate_all`` is the share of all
    benign images, misclassified ones too, that were flagged: the rate to expect of traffic, which has no
    labels.
    """

    schema_version: str = SCHEMA_VERSION
    input: InputSpec
    output: OutputSpec
    policy: Policy
    precision: Precision = Precision.FP32
    conversion: ConversionInfo | None = None
    settings: SettingsInfo | None = None
    defence: DefenceInfo
    calibration: CalibrationInfo
    flag_rate_all: Rate | None = None
    gate: GateInfo | None = None
    coverage: CoverageInfo | None = None
    verdict: VerdictInfo | None = None
    verification: VerificationInfo
    second_pass: SecondPassInfo | None = None
    digests: Digests
    provenance: Provenance
    known_limits: tuple[str, ...]

    def __post_init__(self) -> None:
        major = SCHEMA_VERSION.partition(".")[0]
        fits = _VERSION.fullmatch(self.schema_version) and self.schema_version.partition(".")[0] == major
        require(bool(fits), "schema_version", f"{major}.x", self.schema_version)
        converted = self.precision is not Precision.FP32
        what = f"{'a' if converted else 'no'} comparison with fp32 for precision {self.precision}"
        require((self.conversion is not None) is converted, "conversion", what, self.conversion)

    def to_json(self) -> str:
        """One line of JSON that :func:`read_manifest` turns back into an equal manifest."""
        return json.dumps(plain(self), ensure_ascii=False, allow_nan=False)


ADDED: Final = {
    1: frozenset({"precision", "conversion", "settings"}),
    2: frozenset({"flag_rate_all"}),
    3: frozenset({"gate"}),
    4: frozenset(
        {"coverage", "verdict", "second_pass", "input.sound", "input.preprocess", "calibration.labels"}
    ),
}
"""Fields of :class:`Manifest`, or of parts of it, by the minor version that added them; older files lack
them."""

OPTIONAL: Final = frozenset({"input.preprocess", "calibration.labels"})
"""Fields that files of the version that added them may lack too: some were made before they were added."""


def plain(value: object) -> Any:
    """Turn a manifest or any part of it into the objects that :mod:`json` writes."""
    if isinstance(value, Rate):
        low, high = value.interval
        return {"count": value.count, "n": value.n, "value": value.value, "low": low, "high": high}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value
