"""From an array of images to a prediction: checked, split into runs, answered, every row in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import ArtifactError, InputError
from nip_runtime.file.manifest import Manifest, Policy
from nip_runtime.inputs.arrays import Images, OnBadRow, bad_rows, check_kind, check_values, to_float32
from nip_runtime.result import Prediction, Reason, RefusedRow, explain
from nip_runtime.run.engine.answers import Answers

HostAnswers = Answers[NDArray[Any]]
Run = Callable[[NDArray[np.float32]], HostAnswers]
"""Answers one run of N ≥ 1 rows, float32 (N, *shape)."""
_ENDLESS: Final = "NaN or Inf from values within bounds"
_LEAVE_OUT: Final = "leave the row out, for this model has no answer to it"


def predict(images: object, run: Run, manifest: Manifest, *, max_batch: int, on_bad_row: str) -> Prediction:
    """Answer N ≥ 0 rows; see :meth:`nip_runtime.session.DefendedSession.predict`.

    Rows do not see each other: good ones get the answers that they get without the bad ones.

    Args:
        images: what the caller passed.
        run: runs the model.
        manifest: what the file says about itself.
        max_batch: rows per run.
        on_bad_row: "raise" or "skip".

    Raises:
        InputError: for an array of the wrong kind, for more rows than answers fit in memory, and with "raise"
            for rows that are out of bounds or have no finite answer.
        ArtifactError: if the file's graph does not run, or answers otherwise than it states.
    """
    raises = _raises(on_bad_row)
    spec, classes = manifest.input, manifest.output.classes
    checked = check_kind(images, spec)
    # Before any value is looked at: a view of one row may pretend to be more rows than there is time for.
    room = _room(len(checked), classes) if len(checked) > max_batch else None
    refused: tuple[RefusedRow, ...] = ()
    if raises:
        check_values(checked, spec)
    else:
        refused = bad_rows(checked, spec)
    if room is None and not refused and len(checked):
        only = _answered(run, to_float32(checked, spec), classes)
        return _prediction(only, manifest.policy, refused, raises=raises)
    answers = _room(len(checked), classes) if room is None else room
    for rows in _runs(checked, refused, max_batch):
        answered = _answered(run, to_float32(checked[rows], spec), classes)
        for whole, part in zip(answers.values, answered.values, strict=True):
            whole[rows] = part
    return _prediction(answers, manifest.policy, refused, raises=raises)


def _answered(run: Run, inputs: NDArray[np.float32], classes: int) -> HostAnswers:
    """Run the model, and see that it answers what its file states: shapes inside a graph are only stated."""
    try:
        answers = run(inputs)
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ArtifactError.mismatch(
            expected="a graph that onnxruntime can run on these rows",
            got=" ".join(str(error).split()),
            fix="get the original file; if this is it, try device cpu and see `nip doctor`",
        ) from error
    rows = len(inputs)
    one, each = (rows,), (rows, classes)
    if tuple(values.shape for values in answers.values) != (each, each, one, one, one):
        raise ArtifactError.mismatch(
            expected=f"answers of shapes {each} and {one}",
            got=", ".join(str(values.shape) for values in answers.values),
            fix="get the original file, or export the model again",
        )
    return answers


def _raises(on_bad_row: object) -> bool:
    if isinstance(on_bad_row, str):
        if on_bad_row == OnBadRow.RAISE:
            return True
        if on_bad_row == OnBadRow.SKIP:
            return False
    raise InputError.mismatch(
        expected="on_bad_row raise or skip", got=repr(on_bad_row), fix="name one of these"
    )


def _room(rows: int, classes: int) -> HostAnswers:
    """Where the answers of all runs go, not yet filled."""
    try:
        return Answers(
            np.empty((rows, classes), np.float32),
            np.empty((rows, classes), np.float32),
            np.empty(rows, np.float32),
            np.empty(rows, np.bool_),
            np.empty(rows, np.int64),
        )
    except (MemoryError, ValueError) as error:  # ValueError: more than can be addressed
        raise InputError.mismatch(
            expected="as many rows as their answers fit in memory",
            got=str(rows),
            fix="predict them in several calls",
        ) from error


def _runs(
    images: Images, refused: tuple[RefusedRow, ...], max_batch: int
) -> Iterable[slice | NDArray[np.intp]]:
    """Rows of each run: all but the refused."""
    if not refused:
        return (slice(start, start + max_batch) for start in range(0, len(images), max_batch))
    is_good = np.ones(len(images), np.bool_)
    is_good[[row.row for row in refused]] = False
    good = np.flatnonzero(is_good)
    return (good[start : start + max_batch] for start in range(0, len(good), max_batch))


def _prediction(
    answers: HostAnswers, policy: Policy, refused: tuple[RefusedRow, ...], *, raises: bool
) -> Prediction:
    logits, raw_logits = answers.logits, answers.raw_logits
    if refused or not _is_finite(answers):
        refused = _with_unanswered(answers, refused, raises=raises)
    raw_labels = raw_logits.argmax(axis=1)
    if logits is raw_logits:  # nothing was changed; but each array is the caller's to write to
        labels, logits = raw_labels.copy(), logits.copy()
    else:
        labels = logits.argmax(axis=1)
    reason = explain(policy, labels, raw_labels, answers.flagged)
    if refused:
        rows = [row.row for row in refused]
        labels[rows] = raw_labels[rows] = -1
        reasons = list(reason)
        for row in rows:
            reasons[row] = Reason.REFUSED
        reason = tuple(reasons)
    return Prediction(
        labels=labels,
        logits=logits,
        raw_labels=raw_labels,
        raw_logits=raw_logits,
        suspicion=answers.suspicion,
        flagged=answers.flagged,
        candidate=answers.candidate,
        reason=reason,
        refused=refused,
    )


def _is_finite(answers: HostAnswers) -> bool:
    """Whether all answers are finite; may say no where only the products overflow.

    A product with NaN or Inf is one of them, and so is a sum with one: no value need be looked at. A request
    of one row pays for this too.
    """
    suspicion = answers.suspicion
    return isfinite(np.vdot(answers.logits, answers.raw_logits)) and isfinite(suspicion.dot(suspicion))


def _with_unanswered(
    answers: HostAnswers, refused: tuple[RefusedRow, ...], *, raises: bool
) -> tuple[RefusedRow, ...]:
    """Add the rows without a finite answer, and blank all refused ones in ``answers``.

    The graph flags by comparisons, and none with NaN holds: it may let such a row pass.
    """
    finite = np.isfinite(answers.suspicion)
    for logits in (answers.logits, answers.raw_logits):
        finite &= np.isfinite(logits).all(axis=1)
    finite[[row.row for row in refused]] = True  # nothing was asked about these
    unanswered = np.flatnonzero(~finite)
    if raises and len(unanswered):
        raise InputError.mismatch(
            expected="finite logits", got=f"{_ENDLESS} in row {unanswered[0]}", fix=_LEAVE_OUT
        )
    why = str(InputError.mismatch(expected="finite logits", got=_ENDLESS, fix=_LEAVE_OUT))
    both = [*refused, *(RefusedRow(int(row), why) for row in unanswered)]
    both.sort(key=lambda row: row.row)
    rows = [row.row for row in both]
    for values in (answers.logits, answers.raw_logits, answers.suspicion):
        values[rows] = np.nan
    answers.flagged[rows] = True
    answers.candidate[rows] = -1
    return tuple(both)
