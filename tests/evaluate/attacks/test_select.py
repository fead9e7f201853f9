from __future__ import annotations

import pytest

from nip_evaluate.attacks import CORE, NATURAL, catalogue, select
from nip_runtime.errors import InputError

CASES = catalogue()


def names(*wanted: str) -> list[str]:
    return [case.name for case in select(wanted, CASES)]


def test_groups() -> None:
    assert set(names("core")) == set(CORE)
    assert names("all") == [case.name for case in CASES]
    assert names("quick") == ["FGSM 8/255", "MI-FGSM 16/255", "PGD 8/255", "PGD 25/255", "C&W κ=0"]


def test_the_natural_group_decides_alone_what_counts() -> None:
    chosen = select(["natural", "PGD 16/255"], CASES)
    assert {case.name for case in chosen} == {*NATURAL, "PGD 16/255"}
    assert {case.name for case in chosen if case.core} == set(NATURAL)
    assert {case.name for case in select(["core", "Natural"], CASES) if case.core} == set(NATURAL)
    assert {case.name for case in select(["core", "PGD 4/255"], CASES) if case.core} == set(CORE)


def test_names_and_families_in_any_case_come_in_the_catalogue_s_order_once() -> None:
    assert names("pgd 8/255", " deepfool ", "PGD 8/255") == ["PGD 8/255", "DeepFool"]
    assert names("c&w") == ["C&W κ=0", "C&W κ=5", "C&W κ=10", "C&W κ=20"]
    assert names("mi-fgsm") == ["MI-FGSM 8/255", "MI-FGSM 16/255"]


def test_quick_caps_only_what_is_not_named_otherwise() -> None:
    def images(*wanted: str) -> int | None:
        return next(case.images for case in select(wanted, CASES) if case.name == "C&W κ=0")

    quick = images("quick")
    assert quick is not None
    assert 0 < quick <= 100
    assert images("quick", "core") is images("C&W κ=0", "quick") is None


def test_an_unknown_attack_is_answered_with_what_there_is() -> None:
    with pytest.raises(InputError, match=r"core, natural, quick, all, FGSM.*DeepFool.*got 'PGDD'") as raised:
        select(["core", "PGDD"], CASES)
    assert "PGD 51/255" in str(raised.value)
    with pytest.raises(InputError, match="one attack or more"):
        select([], CASES)
