"""The page as a table of paths and contents: what the server serves and the static export writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from nip_runtime import __version__
from nip_runtime.errors import InputError
from nip_runtime.file.artifact import opened
from nip_runtime.file.manifest import InputSpec, Layout, Manifest
from nip_runtime.file.manifest.model import plain
from nip_runtime.operate.evaluated import ADAPTIVE, WorstCase, read_evaluated
from nip_runtime.operate.ui.engine import pinned_version, read_engine
from nip_runtime.operate.ui.examples import (
    Examples,
    examples_beside,
    no_examples,
    read_examples,
    with_pictures,
)
from nip_runtime.operate.ui.watch import Watched, bank_bytes, watch
from nip_runtime.support.writing import write_whole

INDEX: Final = "index.html"
_PAGE: Final = (
    INDEX,
    "style.css",
    "icon.svg",
    "app.js",
    "attacks.js",
    "camera.js",
    "charts.js",
    "client.js",
    "examples.js",
    "gate.js",
    "pictures.js",
    "trials.js",
    "views.js",
    "worker.js",
)
_FACTS: Final = "facts.json"
_MOST_EXAMPLE_BYTES: Final = 1 << 26
POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy: stands in the page, for hosts that send none; the server sends it too."""


@dataclass(frozen=True, eq=False)
class Site:
    """Everything that the page loads.

    Attributes:
        files: content by path relative to the page.
        title: the file's name.
        notes: what the user should know, a sentence each.
    """

    files: Mapping[str, bytes]
    title: str
    notes: tuple[str, ...]


def build_site(
    model: str | Path,
    *,
    images: Path | None = None,
    examples: Path | None = None,
    report: Path | None = None,
    require_signature: str | Path | None = None,
    engine: Path | None = None,
) -> Site:
    """Check a defended file and everything beside it, and put the page together.

    Args:
        model: defended file of an image classifier with 1 or 3 channels and pixels in [0, 1].
        images: folder of pictures to offer.
        examples: prepared examples (.npz); by default those beside the file, if there are any.
        report: ``report.json`` of the file's evaluation.
        require_signature: PEM file of the public key that must have signed the file.
        engine: folder with the files of onnxruntime-web; by default the package's own.

    Raises:
        ArtifactError: the file is no defended file, or lacks the signature.
        InputError: the model takes no images, or examples, pictures or report do not fit the file.
        DependencyError: onnxruntime-web was not fetched, or OpenCV is needed and missing.
    """
    path = Path(model)
    with opened(path, require_signature=require_signature) as (artifact, content):
        manifest = artifact.manifest
        _check_input(manifest.input, path)
        engine_files = read_engine(engine)
        watched = watch(artifact, content)
        bank = bank_bytes(artifact, content)
        measured = () if report is None else _adaptive(read_evaluated(report, manifest))
    shown, notes = _offered(path, manifest, examples, images)
    facts = {
        "file": {"name": path.name, "size_bytes": len(content), "sha256": sha256(content).hexdigest()},
        "tool": f"nip-runtime {__version__}",
        "engine": f"onnxruntime-web {pinned_version()}",
        "manifest": plain(manifest),
        "watched": _watched(watched),
        "has_bank": bank is not None,
        "examples": _examples(shown),
        "measured": None if report is None else [plain(each) for each in measured],
    }
    table = {name: _page_file(name) for name in _PAGE}
    table |= {f"engine/{name}": data for name, data in engine_files.items()}
    table |= {
        _FACTS: json.dumps(facts, ensure_ascii=False, allow_nan=False).encode(),
        "model.onnx": bytes(content),
        "watch.bin": watched.patch,
        "bank.bin": bank or b"",
        "examples.bin": _packed(shown),
    }
    return Site(table, path.name, notes)


def write_site(site: Site, folder: Path) -> None:
    """Write the page for any web server; that of an earlier call is replaced.

    Raises:
        InputError: the folder is a file, holds other things than a page, or can't be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError.mismatch(
            expected="a folder to write to", got=f"the file {folder}", fix="name another with --static"
        )
    there = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
    if there and _FACTS not in there:
        raise InputError.mismatch(
            expected="an empty folder, a new one, or one with a page of an earlier call",
            got=f"{folder} with {', '.join(there[:3])}{' …' if len(there) > 3 else ''}",
            fix="name another with --static",
        )
    for name, content in site.files.items():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError.mismatch(
                expected=f"a folder that can be made at {target.parent}",
                got=error.strerror or str(error),
                fix="name another with --static",
            ) from error
        write_whole(target, content)


def _offered(
    model: Path, manifest: Manifest, path: Path | None, folder: Path | None
) -> tuple[Examples, tuple[str, ...]]:
    beside = examples_beside(model)
    if path is None and beside.is_file():
        path = beside
    examples = no_examples(manifest) if path is None else read_examples(path, manifest)
    notes = []
    if path is None and folder is None:
        notes.append(
            "no examples: make some with nip export --ui-examples DATA, or name a folder with --images"
        )
    if folder is not None:
        examples, left_out = with_pictures(examples, folder, manifest)
        if left_out:
            notes.append(f"{left_out} pictures of {folder} were left out: the page shows the first ones")
    size_bytes = examples.images.nbytes + examples.attacked.nbytes
    if size_bytes > _MOST_EXAMPLE_BYTES:
        raise InputError.mismatch(
            expected=f"examples of at most {_MOST_EXAMPLE_BYTES >> 20} MiB",
            got=f"{size_bytes >> 20} MiB",
            fix="name a folder with fewer pictures, or prepare fewer examples",
        )
    return examples, tuple(notes)


def _check_input(spec: InputSpec, path: Path) -> None:
    images = spec.layout is Layout.NCHW and spec.shape[0] in (1, 3) and spec.bounds == (0.0, 1.0)
    if not images:
        raise InputError.mismatch(
            expected=f"a classifier of grey or RGB images with pixels in [0, 1] in {path}",
            got=f"input {spec.shape}, layout {spec.layout}, within {spec.bounds}",
            fix="the page shows images only; nip predict answers arrays and recordings",
        )


def _adaptive(cases: tuple[WorstCase, ...]) -> list[WorstCase]:
    """Attackers who know the defence, smallest ε first."""
    found = [case for case in cases if case.threat == ADAPTIVE and case.epsilon is not None]
    return sorted(found, key=lambda case: case.epsilon or 0.0)


def _watched(watched: Watched) -> dict[str, Any]:
    return {
        "tests": [asdict(test) for test in watched.tests],
        "suspicion": None if watched.suspicion is None else asdict(watched.suspicion),
        "second_input": watched.second_input,
        "second_logits": watched.second_logits,
    }


def _examples(examples: Examples) -> dict[str, Any]:
    return {
        "count": len(examples.images),
        "prepared": examples.attacked.shape[1],
        "labels": examples.labels,
        "names": examples.names,
        "attacks": [
            {"name": name, "eps": eps} for name, eps in zip(examples.attacks, examples.eps, strict=True)
        ],
        "universal": examples.universal is not None,
    }


def _packed(examples: Examples) -> bytes:
    """Images, attacked ones, then the universal pattern, behind each other."""
    universal = b"" if examples.universal is None else examples.universal.tobytes()
    return examples.images.tobytes() + examples.attacked.tobytes() + universal


def _page_file(name: str) -> bytes:
    content = files("nip_runtime.operate.ui").joinpath("page", name).read_bytes()
    return content.replace(b"@POLICY@", POLICY.encode()) if name == INDEX else content
