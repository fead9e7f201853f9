"""Two passes through one session of the backbone, the second on rows that the host picks.

The weights stand in memory once, no session ever sees an empty batch, and a batch of benign rows costs one
pass. All arithmetic is that of the file's own operators, so the answers are those of the whole graph, on the
CPU provider bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nip_runtime import names
from nip_runtime.engine.answers import Answers, EngineKind
from nip_runtime.engine.cut import Sliceable
from nip_runtime.engine.parts import Part, cut_parts
from nip_runtime.manifest import Manifest
from nip_runtime.runners import Runner
from nip_runtime.splitting import bucket

T = TypeVar("T")


class GatedEngine(Generic[T]):
    """Runs a defended file in parts.

    Args:
        model: the file, ready to be cut.
        manifest: what it says about itself.
        open_session: opens serialised models in onnxruntime.
        runner: runs sessions.
        padded: repeat picked rows up to the next power of two, for devices on which every new batch size is
            costly. Answers do not depend on it.

    Raises:
        ArtifactError: if an earlier version wrote the file and it cannot be cut.
    """

    kind = EngineKind.GATED

    def __init__(
        self,
        model: Sliceable,
        manifest: Manifest,
        *,
        open_session: Callable[[bytes], Any],
        runner: Runner[T],
        padded: bool = False,
    ) -> None:
        parts = cut_parts(model, manifest)
        self._look = open_session(parts.look.content)
        self._perturb = open_session(parts.perturb.content)
        self._judge = open_session(parts.judge.content)
        self._parts = parts
        self._runner = runner
        self._input = manifest.input.name
        self._outputs = (manifest.output.name, *names.ADDED_OUTPUTS[1:])
        self._padded = padded

    def run(self, inputs: T, *, options: object = None) -> Answers[T]:
        """See :class:`nip_runtime.engine.answers.Engine`."""
        look = self._parts.look
        seen = dict(
            zip(
                look.outputs,
                self._runner.run(self._look, look.outputs, {self._input: inputs}, options=options),
                strict=True,
            )
        )
        if not self._parts.screened:
            return self._second_pass({self._input: inputs, **seen}, None, options)
        screened = self._runner.to_host(seen[names.SCREENED])
        if not screened.any():
            raw = seen[names.RAW_LOGITS]
            return Answers(
                logits=raw,
                raw_logits=raw,
                suspicion=seen[names.CALM_SUSPICION],
                flagged=self._runner.from_host(np.zeros(len(screened), np.bool_)),
                candidate=seen[names.CALM_CANDIDATE],
            )
        rows = np.flatnonzero(screened)
        return self._second_pass({self._input: inputs, **seen}, rows, options)

    def _second_pass(
        self, values: dict[str, T], rows: NDArray[np.int64] | None, options: object
    ) -> Answers[T]:
        if rows is not None:
            values[names.ROWS] = self._runner.from_host(self._pad(rows, values))
        (perturbed,) = self._part(self._perturb, self._parts.perturb, values, options)
        (second,) = self._runner.run(
            self._look, [names.RAW_LOGITS], {self._input: perturbed}, options=options
        )
        values[names.SECOND_LOGITS] = second
        logits, suspicion, flagged, candidate = self._part(self._judge, self._parts.judge, values, options)
        return Answers(
            logits=logits,
            raw_logits=values[names.RAW_LOGITS],
            suspicion=suspicion,
            flagged=flagged,
            candidate=candidate,
        )

    def _part(self, session: Any, part: Part, values: dict[str, T], options: object) -> list[T]:
        inputs = {name: values[name] for name in part.inputs}
        return self._runner.run(session, part.outputs, inputs, options=options)

    def _pad(self, rows: NDArray[np.int64], values: dict[str, T]) -> NDArray[np.int64]:
        """Repeat the last row: its results are put back twice, and are the same twice."""
        if not self._padded:
            return rows
        count = self._runner.to_host(values[names.SCREENED]).shape[0]
        return np.pad(rows, (0, bucket(len(rows), count) - len(rows)), mode="edge")
