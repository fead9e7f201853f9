"""Every bad file, each with a name and what its refusal must say."""

from __future__ import annotations

from typing import Final

from tests.abuse.files.bad_file import BadFile
from tests.abuse.files.damaged import damaged_files
from tests.abuse.files.defences import defence_files
from tests.abuse.files.manifests import manifest_files
from tests.abuse.files.operators import operator_files
from tests.abuse.files.places import place_files
from tests.abuse.files.sizes import size_files
from tests.abuse.files.values import value_files
from tests.abuse.files.views import view_files

BAD_FILES: Final[tuple[BadFile, ...]] = (
    *damaged_files(),
    *operator_files(),
    *value_files(),
    *size_files(),
    *defence_files(),
    *view_files(),
    *manifest_files(),
    *place_files(),
)
