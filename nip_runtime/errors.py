"""The errors a user meets. Each message says what was expected, what came, and what to do about it."""

from __future__ import annotations

from typing import Self


class NipError(Exception):
    """Base of every error this product raises on purpose.

    Takes one finished message, so that instances survive pickling between processes.
    """

    @classmethod
    def mismatch(cls, *, expected: str, got: str, fix: str) -> Self:
        """Build the usual message, ``expected …, got …; fix``, in one form everywhere."""
        return cls(f"expected {expected}, got {got}; {fix}")


class ArtifactError(NipError):
    """The model file, or its manifest, is not what this runtime can run."""


class InputError(NipError):
    """What the caller handed over (images, paths, options) does not fit the model."""


class DeviceError(NipError):
    """The device asked for cannot be had here."""


class OutOfMemoryError(DeviceError):
    """Memory on the device, or on the host, did not hold a run. The session stays usable."""


class DependencyError(NipError):
    """An optional package is missing or does not load."""


class ExportError(NipError):
    """A defended file could not be made from this model and data."""
