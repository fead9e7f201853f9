"""Draws the way of an image through a defended file, with the shares that the file's manifest states.

python -m docs.site.flow            # writes docs/pictures/flow.svg
python -m docs.site.flow --check    # exit 1 if it differs
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.manifest import Manifest

ROOT: Final = Path(__file__).resolve().parents[2]
MODEL: Final = ROOT / "tests" / "goldens" / "guarded-1.3.onnx"
PICTURE: Final = ROOT / "docs" / "pictures" / "flow.svg"
_WIDTH, _HEIGHT = 860, 225
_BOX = (
    '<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{fill}" stroke="#4a5568"/>'
    '<text x="{tx}" y="{ty}" font-weight="600">{title}</text><text x="{tx}" y="{ly}">{line}</text>'
)
_ARROW = '<path d="M{0} {1} L{2} {3}" stroke="#4a5568" fill="none" marker-end="url(#head)"/>'
_LABEL = '<text x="{}" y="{}" fill="{}">{}</text>'


def draw(manifest: Manifest) -> str:
    """The picture as SVG."""
    calibration, gate = manifest.calibration, manifest.gate
    screened = calibration.pass2_rate.value
    flagged = manifest.flag_rate_all or calibration.flag_rate
    view = "another view" if gate is None else "+".join([*gate.view, *(["ρ"] if gate.rho else [])])
    boxes = (
        (20, 90, 110, "image x", f"{calibration.images} benign", "#f7fafc"),
        (180, 90, 150, "first pass", "typical? agreed?", "#e6fffa"),
        (430, 90, 170, "second pass", f"view: {view}", "#ebf4ff"),
        (690, 20, 150, "network's answer", "unchanged", "#f7fafc"),
        (690, 160, 150, "second opinion", "flagged", "#fffaf0"),
    )
    parts = [_box(*box) for box in boxes]
    for line in (
        (130, 115, 176, 115),
        (330, 115, 426, 115),
        (255, 90, 255, 44),
        (255, 44, 686, 44),
        (600, 100, 686, 60),
        (600, 130, 686, 180),
    ):
        arrow = _ARROW if line != (255, 90, 255, 44) else _ARROW.replace(' marker-end="url(#head)"', "")
        parts.append(arrow.format(*line))
    for x, y, colour, text in (
        (470, 36, "#2f855a", f"{1 - screened:.0%} leave here"),
        (378, 106, "#2b6cb0", f"{screened:.0%} screened"),
        (618, 66, "#2f855a", f"{screened - flagged.value:.0%}"),
        (618, 178, "#c05621", f"{flagged.value:.0%}"),
    ):
        parts.append(_LABEL.format(x, y, colour, text))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        ' font-size="13" text-anchor="middle"><title>An image through a defended file</title>'
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#4a5568"/></marker></defs>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>' + "\n".join(parts) + "</svg>\n"
    )


def _box(x: int, y: int, width: int, title: str, line: str, fill: str) -> str:
    middle = x + width // 2
    return _BOX.format(
        x=x, y=y, w=width, h=50, fill=fill, tx=middle, ty=y + 21, ly=y + 39, title=title, line=line
    )


def main(arguments: Sequence[str]) -> int:
    """Write the picture, or compare it."""
    drawn = draw(read_artifact(MODEL).manifest)
    if "--check" in arguments:
        same = PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == drawn
        if not same:
            print(f"{PICTURE.name} differs from {MODEL.name}: run python -m docs.site.flow", file=sys.stderr)
        return 0 if same else 1
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
