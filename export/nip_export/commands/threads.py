"""How torch's idle threads wait while a command runs."""

from __future__ import annotations

import os


def passive_waiting() -> None:
    """Let idle threads sleep, unless the user has chosen otherwise.

    They spin by default; on a machine with other work that made the demo's attacks seven times slower. Read
    when torch is loaded, so it must be set before.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
