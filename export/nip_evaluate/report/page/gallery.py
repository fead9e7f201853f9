"""A few images or recordings on their way through attack and defence, as PNGs inside the page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.image import imsave

from nip_evaluate.report.page.recordings import recording_uri
from nip_evaluate.terms.answers import Answers
from nip_evaluate.terms.threats import Images, Labels
from nip_runtime.errors import InputError

PANELS = 6
FREE_SCALE = 32
"""Scale of the drawn difference, in 1/255, where the attack has no ε."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One row of the image grid; images are PNG data URIs, classes are names."""

    true_class: str
    attacked_class: str
    seen_class: str
    defended_class: str
    flagged: bool | None
    benign_uri: str
    attacked_uri: str
    difference_uri: str
    perturbation_uri: str
    seen_uri: str


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The image grid of one attack.

    Attributes:
        attack: the attack shown.
        panels: rows of the grid; empty if the attack turned no image.
        turned: how many images the attack turned; the panels are the first of them.
        difference_scale: attacked − benign is drawn from −this to +this, in 1/255.
        perturbation_scale: likewise for the inverse perturbation.
        drawn_to: of recordings, in full scale, what difference and inverse perturbation are drawn to instead;
            None for images.
    """

    attack: str
    panels: tuple[Panel, ...]
    turned: int
    difference_scale: int
    perturbation_scale: int
    drawn_to: tuple[float, float] | None = None

    @property
    def scales(self) -> tuple[str, str]:
        """What the difference and the inverse perturbation are drawn to, as text."""
        if self.drawn_to is not None:
            return f"{self.drawn_to[0]:.3g}", f"{self.drawn_to[1]:.3g}"
        return f"{self.difference_scale}/255", f"{self.perturbation_scale}/255"


def make_gallery(
    attack: str,
    *,
    epsilon: float | None,
    clean: Images,
    attacked: Images,
    truth: Labels,
    benign: Answers,
    answers: Answers,
    rho: Images,
    seen: Images,
    seen_labels: Labels,
    class_names: Sequence[str],
    eps_pixel: float,
) -> Gallery | None:
    """Show an attack on the first images that it turned from right to wrong, whatever the defence then did.

    Args:
        attack: its name.
        epsilon: its ε, which scales the drawn difference; None for a minimum-norm attack.
        clean: (n, *shape) float32, the benign images in [0, 1] or recordings (n, 1, T).
        attacked: (n, *shape), the same images attacked.
        truth: (n,) true classes.
        benign: the file's answers to `clean`.
        answers: the file's answers to `attacked`.
        rho: (n, *shape) float32, the row of the ρ bank that each attacked image meets in the second pass;
            drawn for every image, also for those that the gate let pass.
        seen: (n, *shape) float32, the attacked images as the second pass sees them.
        seen_labels: (n,) int64, the undefended network's answers to these.
        class_names: C names.
        eps_pixel: bound of |ρ|.

    Returns:
        The gallery; None for inputs that are neither recordings (n, 1, T) nor images, (n, 1, H, W) or
        (n, 3, H, W).

    Raises:
        InputError: the arrays' lengths or shapes differ.
    """
    heard = clean.ndim == 3 and clean.shape[1] == 1
    if not heard and (clean.ndim != 4 or clean.shape[1] not in (1, 3)):
        return None
    _check_lengths(clean, attacked, rho, seen, truth, seen_labels, benign.labels, answers.labels)
    rows = np.flatnonzero((benign.raw_labels == truth) & (answers.raw_labels != truth))
    scale = FREE_SCALE if epsilon is None else max(1, round(epsilon * 255))
    rho_scale = max(1, math.ceil(eps_pixel * 255 - 1e-6))
    drawn_to = _loudest(attacked - clean, epsilon), eps_pixel

    def whole(row: int, inputs: Images) -> str:
        return recording_uri(inputs[row], limit=_loudest(clean[row])) if heard else png_uri(inputs[row])

    def change(row: int, inputs: Images, limit: float, parts: int) -> str:
        if heard:
            return recording_uri(inputs[row], limit=limit)
        return signed_png_uri(inputs[row], scale=parts / 255)

    panels = tuple(
        Panel(
            true_class=class_names[truth[row]],
            attacked_class=class_names[answers.raw_labels[row]],
            seen_class=class_names[seen_labels[row]],
            defended_class=class_names[answers.labels[row]],
            flagged=None if answers.flagged is None else bool(answers.flagged[row]),
            benign_uri=whole(row, clean),
            attacked_uri=whole(row, attacked),
            difference_uri=change(row, attacked - clean, drawn_to[0], scale),
            perturbation_uri=change(row, rho, drawn_to[1], rho_scale),
            seen_uri=whole(row, seen),
        )
        for row in rows[:PANELS]
    )
    return Gallery(
        attack=attack,
        panels=panels,
        turned=len(rows),
        difference_scale=scale,
        perturbation_scale=rho_scale,
        drawn_to=drawn_to if heard else None,
    )


def _loudest(samples: Images, bound: float | None = None) -> float:
    """What recordings are drawn to: their bound, or their loudest sample."""
    return bound if bound is not None else max(float(np.abs(samples).max(initial=0)), 1e-6)


def png_uri(image: Images) -> str:
    """A PNG data URI of one image (C, H, W); C is 1 or 3; values outside [0, 1] are clipped."""
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    rgb = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(rgb), format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def signed_png_uri(difference: Images, *, scale: float) -> str:
    """A PNG data URI of a signed difference (C, H, W): grey is no change, ±`scale` is white or black."""
    return png_uri(np.float32(0.5) + difference / np.float32(2 * scale))


def _check_lengths(clean: Images, *others: Images | Labels) -> None:
    for values in others:
        wanted = clean.shape if values.ndim > 1 else clean.shape[:1]
        if values.shape != wanted:
            raise InputError.mismatch(
                expected=f"a row for each of the {len(clean)} images, {wanted}",
                got=str(values.shape),
                fix="hand over the same images, in the same order, everywhere",
            )
