"""What the report draws is what the file's second pass sees."""

from __future__ import annotations

import numpy as np
import torch

from nip_evaluate.given.target import Target
from nip_evaluate.stages.views import Views
from nip_evaluate.terms.answers import Answers
from nip_export.support.progress import silent
from tests.evaluate.run.conftest import Made, Quick
from tests.evaluate.run.test_kinds import kind_of


def views(made: Made, target: Target) -> Views:
    test = made.material.test_inputs((0.0, 1.0))
    answers = Answers(test.labels, test.labels, None, None)
    return Views(target, test.inputs, test.labels, answers, [], [], silent)


def test_the_second_look_is_drawn_through_the_view(made: Made) -> None:
    target = made.target()
    assert target.spec.view, "else nothing is shown that was not there"
    seen = views(made, target).seen(made.images)
    low, high = target.spec.bounds
    by_twin = target.twin.look_again(torch.from_numpy(made.images)).clamp(low, high).numpy()
    np.testing.assert_allclose(seen, by_twin, atol=1e-6)
    added = np.clip(made.images + views(made, target).rho(made.images), low, high)
    assert np.abs(seen - added).max() > 0.1, "a view is no sum"


def test_always_is_drawn_under_the_perturbation_of_each_image_s_hypothesis(quick: Quick) -> None:
    made = kind_of(quick, "mlp-always")
    target = made.target()
    drawn = views(made, target)
    hypothesis = target.twin(torch.from_numpy(made.images)).candidate
    assert len(set(hypothesis.tolist())) > 1
    rho = target.twin.bank[hypothesis].numpy()
    np.testing.assert_array_equal(drawn.rho(made.images), rho)
    np.testing.assert_allclose(drawn.seen(made.images), np.clip(made.images + rho, 0, 1), atol=1e-6)
