"""Whether the inverse perturbation is added to the view that was chosen."""

from __future__ import annotations

import pytest

from nip_export.calibrate import ViewTrial
from nip_runtime.errors import ExportError
from nip_runtime.file.rates import Rate
from tests.maths.second_looks import MEDIAN, MIRROR, Effect, World


@pytest.mark.parametrize(
    ("with_rho", "taken"),
    [
        (Effect(repairs=0.9, strength=0.5), True),
        (Effect(repairs=0.87, strength=0.5), True),
        (Effect(repairs=0.8, strength=0.5), False),
        (Effect(repairs=0.9, strength=0.2), False),
        (Effect(repairs=0.5, strength=0.5), False),
        (Effect(repairs=1.0, loses=0.4, strength=0.5), False),
    ],
    ids=[
        "as good and stronger",
        "nearly as good and stronger",
        "stronger, and less than nine tenths as good",
        "as good but weaker",
        "worse",
        "loses too much",
    ],
)
def test_rho_is_added_only_if_near_the_best_and_stronger(with_rho: Effect, taken: bool) -> None:
    world = World(
        {
            (MIRROR, False): Effect(repairs=0.9, strength=0.3),
            (MEDIAN, False): Effect(strength=0.9),
            (MIRROR, True): with_rho,
            ((), True): Effect(repairs=0.1, strength=0.01),
        }
    )
    chosen, tried = world.choose([(), MIRROR, MEDIAN], rho=None)
    assert (chosen.view, chosen.rho) == (MIRROR, taken)
    assert chosen.name == ("mirror+rho" if taken else "mirror")
    assert [trial.name for trial in tried] == ["mirror", "median", "mirror+rho", "rho"]


def test_rho_is_not_added_where_the_perturbation_alone_is_far_better() -> None:
    world = World(
        {
            (MIRROR, False): Effect(repairs=0.5, strength=0.3),
            (MIRROR, True): Effect(repairs=0.6, strength=0.5),
            ((), True): Effect(repairs=1.0, strength=0.1),
        }
    )
    assert world.choose([(), MIRROR], rho=None)[0].name == "mirror"


@pytest.mark.parametrize("rho", [True, False])
def test_whether_rho_is_added_can_be_decided_beforehand(rho: bool) -> None:
    world = World({(view, rho): Effect(repairs=0.5) for view in ((), MIRROR, MEDIAN)})
    chosen, tried = world.choose([(), MIRROR, MEDIAN], rho=rho)
    assert chosen.rho is rho
    assert [(trial.view, trial.rho) for trial in tried] == [
        (view, rho) for view in ((), MIRROR, MEDIAN) if view or rho
    ]


def test_without_another_view_the_perturbation_alone_is_tried() -> None:
    world = World({((), True): Effect(repairs=0.2, strength=0.1)})
    chosen, tried = world.choose([()], rho=None)
    assert chosen.name == "rho" and tried == (chosen,)
    with pytest.raises(ExportError, match="view: expected one that changes the input, got none; add a step"):
        world.choose([()], rho=False)


@pytest.mark.parametrize(("wrong", "taken"), [(0, False), (9, False), (200, True)])
def test_without_mistakes_to_see_it_by_rho_is_left_out(wrong: int, taken: bool) -> None:
    world = World(
        {
            (MIRROR, False): Effect(repairs=0.5, strength=0.3),
            (MIRROR, True): Effect(repairs=0.5, strength=0.6),
            ((), True): Effect(),
        },
        wrong=wrong,
    )
    assert world.choose([(), MIRROR], rho=None)[0].rho is taken


@pytest.mark.parametrize(
    ("told", "repaired", "keeps"),
    [
        ((0.6, 0.55), (Rate(30, 100), Rate(30, 100)), True),
        ((0.6, 0.6), (Rate(30, 100), Rate(26, 100)), False),
        ((0.6, 0.50), (Rate(30, 100), Rate(33, 100)), True),
        ((0.6, 0.60), (Rate(9, 51), Rate(9, 51)), False),
        ((0.6, 0.60), (Rate(10, 51), Rate(10, 51)), True),
        ((0.6, 0.60), (Rate(15, 19), Rate(15, 19)), False),
        ((0.5, 0.50), (None, None), False),
    ],
    ids=[
        "tells nearly as well",
        "repairs less",
        "tells worse and repairs more",
        "hardly any repaired",
        "just enough repaired",
        "too few mistakes",
        "no mistake",
    ],
)
def test_rho_must_leave_a_view_its_worth(
    told: tuple[float, float], repaired: tuple[Rate | None, Rate | None], keeps: bool
) -> None:
    """Among a thousand classes the true one seldom rises most: then nothing shows what ρ does."""
    view, with_rho = (
        ViewTrial(MIRROR, rho, Rate(290, 300), told[rho], repaired[rho], 0.3) for rho in (False, True)
    )
    assert with_rho.keeps_worth_of(view) is keeps
