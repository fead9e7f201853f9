"""The attacks that an evaluation would run, on the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.report.summary import TITLES
from nip_evaluate.stages.attackers import planned_cases
from nip_evaluate.terms.threats import AttackCase, Threat, epsilon_name

WIDTH = 200


def print_attacks(plan: EvaluationPlan) -> None:
    """Print a table per threat model.

    Raises:
        InputError: the plan names an attack that does not exist, or an ε outside (0, 1].
    """
    console = Console()
    if not console.is_terminal:  # a pipe or a file has no edge to wrap at
        console = Console(width=WIDTH)
    for threat, cases in planned_cases(plan).items():
        if cases:
            console.print(attack_table(threat, cases, limit=plan.images))
        else:
            console.print(f"{TITLES[threat]}: none of the chosen attacks", soft_wrap=True, highlight=False)


def attack_table(threat: Threat, cases: Iterable[AttackCase], *, limit: int | None) -> Table:
    """One threat model's attacks; `limit` is how many images there are to attack at most."""
    table = Table(title=TITLES[threat], title_justify="left")
    for column in ("attack", "library", "norm", "ε or κ", "images"):
        table.add_column(column, no_wrap=column != "attack")
    table.add_column("settings")
    for case in cases:
        table.add_row(case.name, case.library, case.norm, _size(case), _images(case, limit), case.settings)
    return table


def _size(case: AttackCase) -> str:
    if case.epsilon is not None:
        return f"ε = {epsilon_name(case.epsilon)}"
    return "–" if case.confidence is None else f"κ = {case.confidence:g}"


def _images(case: AttackCase, limit: int | None) -> str:
    counts = [count for count in (case.images, limit) if count is not None]
    return f"first {min(counts)}" if counts else "all"
