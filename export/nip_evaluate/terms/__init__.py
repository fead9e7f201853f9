"""The words of an evaluation: what attackers know, what a defence answers, what was counted."""
