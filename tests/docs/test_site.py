"""The site: menu, links, what is generated from the code and, where Sphinx is installed, the build."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nip_export
import nip_runtime
from docs.site import commands, flow, links, manifest_fields, public
from docs.site.build import run_sphinx, toctrees
from docs.site.contents import menu
from nip_runtime.cli.commands import find_commands

ROOT = Path(__file__).resolve().parents[2]
HAS_SPHINX = all(importlib.util.find_spec(name) for name in ("sphinx", "myst_parser", "furo"))


def test_links_lead_where_the_site_keeps_their_targets() -> None:
    text = (
        "[a](../SECURITY.md#who) [b](export.md) ![c](../benchmarks/x.svg) [d](https://e.org)\n"
        "```\n[x](../y.md)\n```\n"
    )
    assert links.for_site("docs/page.md", text) == (
        "[a](project/SECURITY.md#who) [b](export.md) ![c](project/benchmarks/x.svg) [d](https://e.org)\n"
        "```\n[x](../y.md)\n```\n"
    )
    assert links.for_site("benchmarks/README.md", "[a](../docs/speed.md) [b](gpu/README.md)") == (
        "[a](../../speed.md) [b](gpu/README.md)"
    )


def test_files_beside_the_pages_are_taken_in_with_what_they_link_to() -> None:
    found = links.taken_in(ROOT)
    for path in ("SECURITY.md", "CHANGELOG.md", "benchmarks/README.md", "benchmarks/gpu/README.md"):
        assert path in found
    assert not any(path.startswith("docs/") for path in found)


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("[gone](../GONE.md)", encoding="utf-8")
    with pytest.raises(
        links.BrokenLink, match=r"docs/page.md: expected a link to a file .* got \.\./GONE.md"
    ):
        links.taken_in(tmp_path)


def test_the_menu_is_the_contents_page() -> None:
    sections = menu((ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    assert next(iter(sections)) == "Start" and sections["Start"]["Tutorial"] == "tutorial.md"
    assert sections["Use it"]["Security"] == "project/SECURITY.md"
    trees = toctrees(sections)
    assert ":caption: Start\n\nTutorial <tutorial>\n" in trees and trees.count("```{toctree}") == len(
        sections
    )


def test_every_command_and_option_stands_in_the_reference() -> None:
    text = commands.reference()
    for name in find_commands():
        assert f"\n## nip {name}\n" in f"\n{text}"
    assert "--second-pass S,…" in text and "--benign-budget SHARE" in text


def test_every_field_of_the_manifest_stands_in_the_reference() -> None:
    text = manifest_fields.reference()
    schema = json.loads(manifest_fields.SCHEMA.read_text(encoding="utf-8"))
    tables = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert tables[0].startswith("the manifest")
    for field, given in schema["properties"].items():
        assert f"| `{field}` |" in tables[0]
        for inner in given.get("properties", ()):
            own = next(table for table in tables if table.startswith(f"`{field}`\n"))
            assert f"| `{inner}` |" in own
    assert re.search(r"\| `gate` \| .* \| 1\.3 \|", tables[0])
    assert any(table.startswith("`gate.views_tried`") for table in tables)


def test_the_picture_is_the_files() -> None:
    assert flow.main(["--check"]) == 0


def test_the_extra_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    for requirement in project["optional-dependencies"]["docs"]:
        name = re.split(r"[\[><=]", requirement)[0]
        assert re.search(rf"^{re.escape(name.lower())}==", pinned, re.MULTILINE), name


def test_every_public_name_stands_in_the_reference_and_exists() -> None:
    listed = public.names((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    for package in (nip_runtime, nip_export):
        for name in set(package.__all__) - {"__version__", "PerturbationMethod", "Precision"}:
            assert f"{package.__name__}.{name}" in listed
    for name in listed:
        module, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(module), last), name


def test_entries_become_directives() -> None:
    page = public.with_reference(
        "- `nip_runtime.DefendedSession`: opens\n- `nip_export.export_defended`: makes\n"
    )
    assert ".. autoclass:: nip_runtime.DefendedSession\n   :members:" in page
    assert ".. autofunction:: nip_export.export_defended\n```" in page


def test_a_page_of_several_titles_gets_one() -> None:
    assert links.one_title("# A\n```\n# no\n```\n## B\n# C\n") == "# A\n```\n# no\n```\n### B\n## C\n"
    assert links.one_title("# A\n## B\n") == "# A\n## B\n"


@pytest.mark.slow
@pytest.mark.skipif(not HAS_SPHINX, reason="Sphinx is not installed: make docs")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = run_build(site, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nip export" in (site / "commands.html").read_text(encoding="utf-8")
    assert "predict_stream" in (site / "python.html").read_text(encoding="utf-8")
    assert "views_tried" in (site / "file-format.html").read_text(encoding="utf-8")
    assert (site / "project" / "SECURITY.html").is_file()
    assert list((site / "_images").glob("ratios*.svg"))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_SPHINX, reason="Sphinx is not installed: make docs")
def test_a_link_to_a_heading_that_is_not_there_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "pages"
    source.mkdir()
    (source / "index.md").write_text("# A\n\n[nowhere](#no-such-heading)\n", encoding="utf-8")
    done = run_sphinx(source, tmp_path / "site", tmp_path / "trees")
    assert done != 0


def run_build(site: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "docs.site.build", str(site)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
