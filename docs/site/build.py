"""Builds the documentation: stages the pages as the site needs them, then runs Sphinx over the copy.

python -m docs.site.build [FOLDER]     # default: site. `make docs` does this

Pages of docs/ and the files beside it to which they link are copied, links are pointed to the copies, and
what is generated from the code is filled in. A link that leads nowhere, or any other warning, is an error.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from docs.site import commands, manifest_fields, public
from docs.site.contents import CONTENTS, menu
from docs.site.links import for_site, one_title, site_path, taken_in

ROOT: Final = Path(__file__).resolve().parents[2]
DEFAULT: Final = "site"
GENERATED: Final[Mapping[str, Callable[[], str]]] = {
    "<!-- generated: commands -->": commands.reference,
    "<!-- generated: manifest fields -->": manifest_fields.reference,
}
_PYTHON: Final = "docs/python.md"


def stage(folder: Path) -> None:
    """Copy all that belongs to the site into an empty folder.

    Raises:
        BrokenLink: a page links to a file that is not there.
    """
    contents = menu((ROOT / CONTENTS).read_text(encoding="utf-8"))
    listed = {site_path(CONTENTS), *(page for entries in contents.values() for page in entries.values())}
    pages = [path for path in sorted((ROOT / "docs").rglob("*")) if _belongs(path)]
    for path in [*(page.relative_to(ROOT).as_posix() for page in pages), *taken_in(ROOT)]:
        target = folder / site_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith(".md"):
            target.write_bytes((ROOT / path).read_bytes())
            continue
        text = staged(path, (ROOT / path).read_text(encoding="utf-8"))
        if path == CONTENTS:
            text += toctrees(contents)
        elif site_path(path) not in listed:
            text = f"---\norphan: true\n---\n{text}"
        target.write_text(text, encoding="utf-8")


def _belongs(path: Path) -> bool:
    return path.is_file() and "site" not in path.relative_to(ROOT / "docs").parts[:-1]


def staged(path: str, text: str) -> str:
    """A page's text as Sphinx gets it."""
    text = one_title(for_site(path, text))
    for marker, generate in GENERATED.items():
        if marker in text:
            text = text.replace(marker, generate())
    return public.with_reference(text) if path == _PYTHON else text


def toctrees(contents: Mapping[str, Mapping[str, str]]) -> str:
    """The menu at the side, for Sphinx: a section for each heading of the contents page."""
    lines = []
    for heading, entries in contents.items():
        lines += ["", "```{toctree}", ":hidden:", f":caption: {heading}", ""]
        lines += [f"{title} <{page.removesuffix('.md')}>" for title, page in entries.items()] + ["```"]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Build into the folder named, by default ./site. Returns Sphinx's exit code."""
    target = Path(arguments[0] if arguments else DEFAULT).resolve()
    with tempfile.TemporaryDirectory(prefix="nip-docs-") as folder:
        source = Path(folder) / "pages"
        source.mkdir()
        stage(source)
        code = run_sphinx(source, target, Path(folder) / "trees")
    if code == 0:
        print(f"open {target / 'index.html'}")
    return code


def run_sphinx(source: Path, target: Path, trees: Path) -> int:
    """Build staged pages; warnings are errors. Returns Sphinx's exit code."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q"]
    places = ["-c", Path(__file__).parent, "-d", trees, source, target]
    return subprocess.run([*command, *map(str, places)], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
