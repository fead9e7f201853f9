"""The model card of a defended file: what it is, what it was made of, what it does and does not stop.

All of it is read from the manifest and, if there is one, from the file's own evaluation. Nothing is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nip_runtime.file.manifest import Labels, Layout, Manifest
from nip_runtime.operate.evaluated import ADAPTIVE, WorstCase

_MARKDOWN: Final = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#"})
THREATS: Final = {
    "T1": "made on the undefended network (gray-box)",
    "T2": "made on another network (transfer)",
    "T3": "queries of the deployed file",
    "T4": "made by an attacker who knows the defence (adaptive)",
}


def model_card(name: str, manifest: Manifest, report: tuple[WorstCase, ...] | None = None) -> str:
    """The card as Markdown, one file's worth of text that ends in a line feed.

    Args:
        name: what the file is called.
        manifest: the file's.
        report: its worst cases, from :func:`~nip_runtime.operate.evaluated.read_evaluated`; None for a file
            that was not evaluated, which the card says.
    """
    return "\n".join(_lines(name, manifest, report)) + "\n"


def _lines(name: str, manifest: Manifest, report: tuple[WorstCase, ...] | None) -> Iterator[str]:
    yield f"# {_plain(name)}"
    yield ""
    yield (
        f"An ONNX classifier of {manifest.output.classes} classes that looks twice at suspicious inputs and"
        " corrects some of the answers that an attack has changed. It is a second line of defence, no proof."
    )
    yield from _section("What it stops", _measured(manifest, report))
    yield from _section("What it can tell, by its own calibration", _verdict(manifest))
    yield from _section("What it does not stop", (f"- {_plain(limit)}" for limit in manifest.known_limits))
    yield from _section("On benign inputs", _benign(manifest))
    yield from _section("Made of", _made_of(manifest))
    yield from _section("Use", _use(manifest))
    yield from _section("Where it comes from", _origin(manifest))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield from lines


def _measured(manifest: Manifest, report: tuple[WorstCase, ...] | None) -> Iterator[str]:
    if report is None:
        yield (
            "**Not evaluated.** `nip evaluate` attacks a file and writes `report.json`;"
            " `nip inspect --card --report report.json` puts its numbers here."
        )
        return
    yield manifest.input.said(
        "Accuracy under the worst of the attacks, image by image, with its 95 % interval:"
    )
    yield ""
    yield "| attacks | ε | undefended | this file |"
    yield "|---|---|---|---|"
    for case in report:
        strength = "any" if case.epsilon is None else _strength(case.epsilon, manifest)
        what = f"{case.threat}, worst of {case.attacks} {THREATS.get(case.threat, '')}"
        yield f"| {what} | {strength} | {case.undefended} | {case.defended} |"
    if not any(case.threat == ADAPTIVE for case in report):
        yield ""
        yield "**Adaptive attacks (T4) were left out.** Expect them to succeed."


def _strength(epsilon: float, manifest: Manifest) -> str:
    """ε in the words of pixels where inputs are pixels in [0, 1]."""
    pixels = manifest.input.layout is Layout.NCHW and manifest.input.bounds == (0.0, 1.0)
    return f"{epsilon * 255:.3g}/255" if pixels else f"{epsilon:.4g}"


def _verdict(manifest: Manifest) -> Iterator[str]:
    verdict = manifest.verdict
    if verdict is None:
        yield "Not recorded: the file was made before manifest 1.4."
        return
    yield from (f"- It can detect {_plain(text)}." for text in verdict.detects or ("next to nothing",))
    yield from (f"- It cannot detect {_plain(text)}." for text in verdict.misses)
    yield from (f"- To improve it: {_plain(text)}." for text in verdict.advice)


def _benign(manifest: Manifest) -> Iterator[str]:
    told, everything = manifest.calibration, manifest.flag_rate_all
    yield manifest.input.said(f"Measured on {told.images} held-out images, with 95 % intervals:")
    yield ""
    given = told.labels is Labels.GIVEN
    if not given:
        yield "- no labels: the network's own predictions stood in, so that its mistakes count as right"
    what = "right answers" if given else "agreement with the network"
    flagged = "the rightly classified" if given else "these"
    yield f"- {what}: {told.accuracy_raw} without the defence, {told.accuracy_defended} with it"
    yield (
        f"- flagged: {told.flag_rate} of {flagged} (budget {told.benign_budget:.1%})"
        + (f", {everything} of all" if everything is not None else "")
    )
    yield f"- in need of the second pass: {told.pass2_rate}"


def _made_of(manifest: Manifest) -> Iterator[str]:
    coverage, defence = manifest.coverage, manifest.defence
    if coverage is not None:
        yield (
            f"- {manifest.input.said('images')} of {coverage.with_images} of {manifest.output.classes} "
            f"classes; {coverage.few_images} of these had fewer than 10, {coverage.without_images} had none"
        )
    if manifest.output.class_names:
        yield f"- classes: {_plain(', '.join(manifest.output.class_names))}"
    yield f"- policy {manifest.policy}, precision {manifest.precision}; tests: {', '.join(defence.tests)}"
    if manifest.gate is not None:
        view = "+".join([*manifest.gate.view, *(["rho"] if manifest.gate.rho else [])])
        yield f"- the second look: {view or 'the same input'}"
    yield f"- early layers: {_plain(', '.join(defence.early)) or 'none, how sure the network is stands in'}"


def _use(manifest: Manifest) -> Iterator[str]:
    spec = manifest.input
    size = ", ".join(map(str, spec.shape))
    low, high = spec.bounds
    yield f"- input `{_code(spec.name)}`: float32 (N, {size}), {spec.layout}, within [{low:g}, {high:g}]"
    yield "- output `logits`, the defended answer; `nip_raw_logits`, the network's own"
    yield "- output `nip_flagged` and `nip_suspicion`; `nip_candidate`, what a correction answers"
    yield "- what to do with a flagged input is the application's decision: ask a person, ask again, refuse"


def _origin(manifest: Manifest) -> Iterator[str]:
    made, digests = manifest.provenance, manifest.digests
    tools = f"{made.tool}, torch {made.torch}, onnxruntime {made.onnxruntime}"
    yield f"- made {made.created} by {tools}, seed {made.seed}"
    yield f"- graph `{digests.graph}`, weights `{digests.weights}`"
    images = manifest.input.said("images")
    yield f"- profile {images} `{digests.profile_data}`, calibration {images} `{digests.calibration_data}`"


def _plain(text: str) -> str:
    """A file's own words, without Markdown of theirs."""
    return text.translate(_MARKDOWN).replace("\n", " ")


def _code(text: str) -> str:
    return text.replace("`", "'").replace("\n", " ")
