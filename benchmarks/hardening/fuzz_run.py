"""Opens and runs files in a process of its own: for files that passed the check, to see that nothing dies.

Reads a path per line, answers with one JSON line each: how the file was opened and run.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from typing import Final

import numpy as np

from nip_runtime.errors import NipError
from nip_runtime.run.providers import SessionSettings
from nip_runtime.session import DefendedSession

MEMORY_BYTES: Final = 6 << 30
ROWS: Final = 3


def outcome(path: str) -> str:
    """What came of one file: "ran", "refused" with one of our errors, or the name of another error."""
    try:
        for engine in ("fused", "gated"):
            try:
                session = DefendedSession(
                    path, device="cpu", engine=engine, settings=SessionSettings(threads=1)
                )
            except NipError:
                if engine == "gated":  # a file may be of a form that can't be cut
                    return "ran"
                return "refused"
            spec = session.manifest.input
            low, high = spec.bounds
            inputs = np.linspace(low, high, ROWS * int(np.prod(spec.shape)), dtype=np.float32)
            session.predict(inputs.reshape(ROWS, *spec.shape).clip(low, high))
    except NipError:
        return "refused"
    except MemoryError:
        return "out of memory"
    except Exception as error:  # what else there is, is what is looked for
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return "ran"


def main() -> None:
    """Answer until the input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, most))
    logging.disable()
    for line in sys.stdin:
        print(json.dumps(outcome(line.rstrip("\n"))), flush=True)


if __name__ == "__main__":
    main()
