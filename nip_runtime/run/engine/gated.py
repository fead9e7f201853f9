"""Two passes through one session of the backbone, the second on rows that the host picks.

The weights stand in memory once, no session ever sees an empty batch, and only screened rows cost a second
pass: with default settings up to 40 % of benign ones, so ordinary traffic costs about 1.4 passes. All
arithmetic is that of the file's own operators, so the answers are those of the whole graph: on the
CPU provider bit for bit for the convolutional networks tried. Of a transformer, rows that took the second
pass may differ in the last bits, for onnxruntime optimises the second copy in the whole graph a little
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nip_runtime.file import names
from nip_runtime.file.manifest import Manifest
from nip_runtime.run.batch_sizes import bucket
from nip_runtime.run.engine.answers import Answers, EngineKind
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.parts import Part, cut_parts
from nip_runtime.run.runners import Runner

T = TypeVar("T")


@dataclass(frozen=True)
class _Opened:
    """A part in onnxruntime. Its bytes are not kept: they would be a second copy of the weights."""

    session: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class GatedEngine(Generic[T]):
    """Runs a defended file in parts.

    Args:
        model: the file, ready to be cut.
        manifest: what it says about itself.
        open_backbone: opens the part with the backbone in onnxruntime.
        open_heads: opens the small parts. On the CPU they need no threads of their own.
        runner: runs sessions.
        padded: repeat picked rows up to the next power of two, for devices on which every new batch size is
            costly. Answers do not depend on it.
        beside: open the small parts on a thread of their own while the backbone is opened.

    Raises:
        ArtifactError: if an earlier version wrote the file and it cannot be cut.
    """

    kind = EngineKind.GATED

    def __init__(
        self,
        model: Sliceable,
        manifest: Manifest,
        *,
        open_backbone: Callable[[bytes], Any],
        open_heads: Callable[[bytes], Any],
        runner: Runner[T],
        padded: bool = False,
        beside: bool = False,
    ) -> None:
        parts = cut_parts(model, manifest)

        def open_small() -> tuple[_Opened, _Opened]:
            return _opened(parts.perturb, open_heads), _opened(parts.judge, open_heads)

        with ThreadPoolExecutor(1) as thread:
            small = None
            if beside:  # onnxruntime lets go of the interpreter while it opens a model
                with suppress(RuntimeError):  # no further thread is to be had, as when the interpreter ends
                    small = thread.submit(open_small)
            self._look = _opened(parts.look, open_backbone)
        self._perturb, self._judge = open_small() if small is None else small.result()
        self._screened = parts.screened
        self._runner = runner
        self._input = manifest.input.name
        self._padded = padded

    def run(self, inputs: T, *, options: object = None) -> Answers[T]:
        """See :class:`nip_runtime.run.engine.answers.Engine`."""
        seen = self.first_pass(inputs, options=options)
        if not self._screened:
            return self._second_pass(self._named(inputs, seen), options)
        raw, *_, screened, suspicion, candidate = seen
        picked = self._runner.to_host(screened)
        if picked.any():
            return self._second_pass({**self._named(inputs, seen), names.ROWS: self._picked(picked)}, options)
        none = self._runner.from_host(np.zeros(len(picked), np.bool_))
        return Answers(raw, raw, suspicion, none, candidate)

    def first_pass(self, inputs: T, *, options: object = None) -> list[T]:
        """What every row costs: the backbone once, and the read-outs on it."""
        look = self._look
        return self._runner.run(look.session, look.outputs, {self._input: inputs}, options=options)

    def warm(self, inputs: T, *, options: object = None) -> None:
        """See :class:`nip_runtime.run.engine.answers.Engine`: as if every row had been screened."""
        seen = self._named(inputs, self.first_pass(inputs, options=options))
        if self._screened:
            count = self._runner.to_host(seen[names.SCREENED]).shape
            seen[names.ROWS] = self._picked(np.ones(count, np.bool_))
        self._second_pass(seen, options)

    def _named(self, inputs: T, seen: Sequence[T]) -> dict[str, T]:
        return {self._input: inputs, **dict(zip(self._look.outputs, seen, strict=True))}

    def _second_pass(self, seen: Mapping[str, T], options: object) -> Answers[T]:
        perturbed = self._run(self._perturb, seen, options)[names.PERTURBED]
        (second,) = self._runner.run(
            self._look.session, [names.RAW_LOGITS], {self._input: perturbed}, options=options
        )
        judged = self._run(self._judge, {**seen, names.SECOND_LOGITS: second}, options)
        logits, suspicion, flagged, candidate = judged.values()
        return Answers(
            logits=logits,
            raw_logits=seen[names.RAW_LOGITS],
            suspicion=suspicion,
            flagged=flagged,
            candidate=candidate,
        )

    def _run(self, part: _Opened, values: Mapping[str, T], options: object) -> dict[str, T]:
        inputs = {name: values[name] for name in part.inputs}
        results = self._runner.run(part.session, part.outputs, inputs, options=options)
        return dict(zip(part.outputs, results, strict=True))

    def _picked(self, screened: NDArray[np.bool_]) -> T:
        """Indices of the screened rows, (M,) int64; padded by the last, whose results are the same twice."""
        rows = np.flatnonzero(screened)
        if self._padded:
            rows = np.pad(rows, (0, bucket(len(rows), len(screened)) - len(rows)), mode="edge")
        return self._runner.from_host(rows)


def _opened(part: Part, open_session: Callable[[bytes], Any]) -> _Opened:
    return _Opened(open_session(part.content), part.inputs, part.outputs)
