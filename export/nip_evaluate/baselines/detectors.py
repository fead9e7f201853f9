"""Other people's detectors, each fitted to benign images when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

from nip_evaluate.baselines import afls, agreement, scores, squeezing
from nip_evaluate.baselines.held_out import Detector
from nip_evaluate.baselines.network import Forward
from nip_export.fit.bench import Bench
from nip_export.support.progress import Progress, silent

Fits = Mapping[str, Callable[[], Detector]]


def detector_fits(forward: Forward, bench: Bench, *, progress: Progress = silent) -> Fits:
    """How to fit each detector, by name, in the order of tables.

    Args:
        forward: the network, best one that remembers: detectors ask about the same images in turn.
        bench: the same network with its profile and calibration images.
        progress: told of what takes long.
    """
    images, labels = bench.calibration.inputs, bench.calibration.labels
    # Learned once for all three of its detectors.
    learned = cache(partial(afls.learn, bench, seed=bench.config.seed, progress=progress))

    def fit(make: Callable[..., Detector]) -> Callable[[], Detector]:
        return partial(make, forward, images, labels)

    def test(name: str) -> Callable[[], Detector]:
        return lambda: afls.fit_afls(learned(), name)

    return {
        agreement.L1: fit(agreement.fit_agreement),
        squeezing.JOINT: fit(squeezing.fit_squeezing),
        scores.ENERGY: fit(scores.fit_energy),
        scores.LARGEST: fit(scores.fit_largest),
        scores.MARGIN: fit(scores.fit_margin),
        **{name: test(name) for name in (afls.RT, afls.LT, afls.RLT)},
    }
