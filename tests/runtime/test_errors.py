from __future__ import annotations

import pickle

import pytest

from nip_runtime import errors


@pytest.mark.parametrize(
    "kind",
    [
        errors.ArtifactError,
        errors.InputError,
        errors.DeviceError,
        errors.OutOfMemoryError,
        errors.DependencyError,
        errors.ExportError,
    ],
)
def test_errors_share_a_base_and_survive_pickling(kind: type[errors.NipError]) -> None:
    error = kind.mismatch(expected="a cat", got="a dog", fix="bring the cat")
    assert isinstance(error, errors.NipError)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "expected a cat, got a dog; bring the cat"
