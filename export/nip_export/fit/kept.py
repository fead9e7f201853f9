"""Finished stages of an export, kept in a folder, so that one that was stopped can go on."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nip_export.attach.writing import weights_digest
from nip_export.config import ExportConfig
from nip_export.fit.benign import Benign
from nip_export.fit.profiles import InfluenceProfile
from nip_export.network.run import Passed
from nip_runtime.errors import ExportError
from nip_runtime.support.writing import replacing, write_whole

FACTS: Final = "export.json"
WITHOUT_EFFECT: Final = frozenset({"memory", "batch_size", "force", "self_test"})
"""Settings that change no stage that is kept."""
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
_NAMES: Final = "names"
_SHOWN: Final = 60

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Kept:
    """A folder of finished stages, each a file that is there whole or not at all.

    Attributes:
        folder: where they are; None: nothing is kept.
    """

    folder: Path | None = None

    def stage(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of a stage: read if it was finished before, else made and kept.

        Args:
            name: of the stage.
            make: does the work.

        Raises:
            ExportError: the stage's file is damaged, or can't be written.
        """
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.npz"
        if path.exists():
            return _read(path)
        made = make()
        with replacing(path, error=ExportError) as temporary, temporary.open("wb") as file:
            # Numbered, for a layer may have any name.
            packed: dict[str, Any] = {str(number): array for number, array in enumerate(made.values())}
            packed[_NAMES] = np.array(list(made), str)
            np.savez(file, **packed)
        return made

    def passed(self, name: str, make: Callable[[], Passed]) -> Passed:
        """As :meth:`stage`, for a pass over images."""

        def arrays() -> Arrays:
            made = make()
            return {"": made.logits, **made.pooled}

        found = dict(self.stage(name, arrays))
        logits = found.pop("")
        return Passed(logits, found)

    def profiles(
        self, name: str, make: Callable[[], Mapping[str, InfluenceProfile]]
    ) -> Mapping[str, InfluenceProfile]:
        """As :meth:`stage`, for influence profiles."""

        def arrays() -> Arrays:
            made = make()
            return {
                f"{part}:{tap}": values
                for tap, profile in made.items()
                for part, values in (
                    ("influence", profile.influence),
                    ("counts", profile.counts),
                    ("top_k", np.array(profile.top_k)),
                )
            }

        found = self.stage(name, arrays)
        taps = [key.partition(":")[2] for key in found if key.startswith("influence:")]
        return {
            tap: InfluenceProfile(
                tap=tap,
                influence=found[f"influence:{tap}"],
                counts=found[f"counts:{tap}"],
                top_k=int(found[f"top_k:{tap}"]),
            )
            for tap in taps
        }


def check_folder(folder: Path) -> None:
    """Refuse a place that stages can't be kept in, which shows before anything is read.

    Raises:
        ExportError: there is a file, or a folder that holds something else than a stopped export.
    """
    try:
        if folder.exists() and not folder.is_dir():
            got = "a file"
        elif folder.is_dir() and not (folder / FACTS).exists() and any(map(_shows, folder.iterdir())):
            got = "one with other files"
        else:
            return
    except OSError as error:
        got = error.strerror or str(error)
    raise ExportError(
        f"resume: expected a folder of a stopped export or an empty one at {folder}, got {got}; name another"
    )


def _shows(path: Path) -> bool:
    return not path.name.startswith(".")


def keep_in(
    folder: str | Path | None, model: nn.Module, profile: Benign, calibration: Benign, config: ExportConfig
) -> Kept:
    """The finished stages of this very export, in a folder that is made if need be.

    Args:
        folder: None: nothing is kept.
        model: the network.
        profile: images for profiles.
        calibration: images held out.
        config: the settings.

    Raises:
        ExportError: the folder can't be made or holds something else, or another export, with what differs.
    """
    if folder is None:
        return Kept()
    folder = Path(folder)
    facts = _facts(model, profile, calibration, config)
    path = folder / FACTS
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_whole(path, json.dumps(facts, indent=1).encode(), error=ExportError)
            return Kept(folder)
        there = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(there, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise ExportError(
            f"resume: expected a folder of a stopped export at {folder}, got {error}; name another"
        ) from error
    different = [
        f"{name} ({_shown(there.get(name))} there, {_shown(value)} now)"
        for name, value in facts.items()
        if there.get(name) != value
    ]
    if different:
        raise ExportError(
            f"resume: expected the same export as in {folder}, got another: {', '.join(different)}; name "
            "another folder, or remove this one to begin anew"
        )
    return Kept(folder)


def _facts(model: nn.Module, profile: Benign, calibration: Benign, config: ExportConfig) -> dict[str, str]:
    """What the stages depend on."""
    layers = _ADDRESS.sub("", repr(model)).encode()
    settings = {
        each.name: _plain(getattr(config, each.name))
        for each in fields(config)
        if each.name not in WITHOUT_EFFECT
    }
    return {
        "nip-runtime": version("nip-runtime"),
        "torch": version("torch"),
        "weights": weights_digest(model),
        "layers": f"sha256:{hashlib.sha256(layers).hexdigest()}",
        "images": profile.source.digest(),
        "calibration images": calibration.source.digest(),
        **settings,
    }


def _plain(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return repr([getattr(each, "value", each) for each in value])
    return str(getattr(value, "value", value))


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _read(path: Path) -> Arrays:
    try:
        # Opened here, for numpy leaves the file open when it is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as packed:
            names = [str(name) for name in packed[_NAMES]]
            return {name: packed[str(number)] for number, name in enumerate(names)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ExportError(
            f"resume: expected a finished stage in {path}, got a damaged file; remove it, and the stage is "
            "done again"
        ) from error
