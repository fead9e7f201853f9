"""The whole graph in one session: what every other ONNX engine does with the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from nip_runtime.file import names
from nip_runtime.file.manifest import Manifest
from nip_runtime.run.engine.answers import Answers, EngineKind
from nip_runtime.run.runners import Runner

T = TypeVar("T")


class FusedEngine(Generic[T]):
    """Runs a defended file as it is.

    Args:
        model: the file's bytes.
        manifest: what they say about themselves.
        open_session: opens serialised models in onnxruntime.
        runner: runs sessions.
    """

    kind = EngineKind.FUSED

    def __init__(
        self, model: bytes, manifest: Manifest, *, open_session: Callable[[bytes], Any], runner: Runner[T]
    ) -> None:
        self._session = open_session(model)
        self._runner = runner
        self._input = manifest.input.name
        self._outputs = (manifest.output.name, *names.ADDED_OUTPUTS)

    def run(self, inputs: T, *, options: object = None) -> Answers[T]:
        """See :class:`nip_runtime.run.engine.answers.Engine`."""
        answers = self._runner.run(self._session, self._outputs, {self._input: inputs}, options=options)
        return Answers(*answers)

    def warm(self, inputs: T, *, options: object = None) -> None:
        """See :class:`nip_runtime.run.engine.answers.Engine`; the file alone picks its second pass."""
        self.run(inputs, options=options)
