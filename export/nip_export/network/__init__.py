"""Looking inside a torch model while it runs: which layers to tap, and what they output."""

from nip_export.network.answer import Classifier, as_classifier
from nip_export.network.hooks import Capture, evaluation_mode
from nip_export.network.plan import Tap, TapPlan
from nip_export.network.pooling import (
    TapKind,
    cell_bounds,
    pool_activation,
    pool_activation_numpy,
    pooled_width,
)
from nip_export.network.taps import find_taps

__all__ = [
    "Capture",
    "Classifier",
    "Tap",
    "TapKind",
    "TapPlan",
    "as_classifier",
    "cell_bounds",
    "evaluation_mode",
    "find_taps",
    "pool_activation",
    "pool_activation_numpy",
    "pooled_width",
]
