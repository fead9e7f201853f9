"""The door for files under libFuzzer, which looks for inputs that reach new lines of the reader.

    pip install atheris
    python -m benchmarks.hardening.fuzz_atheris FOLDER [-max_total_time=300] [-runs=1000000]

FOLDER keeps what was found from one run to the next; a small good file is put there to start from. Options
are libFuzzer's. Digests are not made to fit, so that mostly the reader is tried: `benchmarks.hardening.fuzz`
tries what lies behind it. atheris is needed by nothing else, and belongs to no extra.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

_HERE = Path("fuzzed")


def main() -> None:
    """Fuzz until libFuzzer ends the process, with code 77 if something but an ArtifactError came."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["nip_runtime"]):
        from nip_runtime.errors import ArtifactError
        from nip_runtime.file.artifact import check_content
    from tests.runtime.toy import graph_bytes, manifest_for, with_manifest

    folders = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    if not folders:
        sys.exit("name a folder for what is found")
    folders[0].mkdir(parents=True, exist_ok=True)
    model = graph_bytes()
    (folders[0] / "toy").write_bytes(with_manifest(model, manifest_for(model)))

    def check(content: bytes) -> None:
        try:
            check_content(content, _HERE)
        except ArtifactError as error:
            if "\n" in str(error) or "expected" not in str(error):
                raise AssertionError(f"an unclear error: {error}") from error

    atheris.Setup([sys.argv[0], "-max_len=8192", *sys.argv[1:]], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
