"""``nip inspect``: what a file says about itself, and whether that is so."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nip_runtime.errors import ArtifactError, InputError
from nip_runtime.file.allowed import LIMITS
from nip_runtime.file.artifact import check_container
from nip_runtime.file.container import Container, parse_container
from nip_runtime.file.container.infos import TensorInfo
from nip_runtime.file.container.reader import printable
from nip_runtime.file.container.wholefile import read_whole
from nip_runtime.file.container.wire import Buffer
from nip_runtime.file.manifest import InputSpec, Labels, Manifest, Precision, read_manifest
from nip_runtime.file.manifest.model import plain
from nip_runtime.file.names import MANIFEST_KEY
from nip_runtime.file.signing import bundle_path
from nip_runtime.operate.card import model_card
from nip_runtime.operate.evaluated import read_evaluated

NAME: Final = "inspect"
HELP: Final = "show an ONNX file's manifest, outputs, operators, sizes and digests"
_BAD_INPUT: Final = 2
_LONGEST_LINE: Final = 2000


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Shows what an ONNX file says about itself and checks it: outputs, operators,\n"
        "sizes, digests and, for a defended file, the manifest. Needs no onnxruntime,\n"
        "and runs nothing that is in the file."
    )
    parser.epilog = (
        "examples:\n"
        "  nip inspect model.nip.onnx\n"
        "  nip inspect model.nip.onnx --json | jq .manifest.calibration\n"
        "  nip inspect model.nip.onnx --card --report report.json > CARD.md\n\n"
        "exit code: 0 fine (also for a plain ONNX file), 2 no ONNX file, or one that\n"
        "differs from its manifest"
    )
    parser.add_argument("model", metavar="F.onnx", help="any ONNX file")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object instead of text")
    form.add_argument("--card", action="store_true", help="a model card in Markdown instead of text")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="report.json",
        help="what nip evaluate measured of this file, for the card",
    )


@dataclass(frozen=True)
class _Findings:
    """``problem`` is None for a defended file that agrees with its manifest, and for one without any."""

    path: Path
    container: Container
    manifest: Manifest | None
    problem: str | None

    @property
    def graph_digest_matches(self) -> bool | None:
        if self.manifest is None:
            return None
        return self.manifest.digests.graph == self.container.graph_digest

    @property
    def signature(self) -> Path | None:
        """The bundle that lies beside the file. It was not looked into."""
        bundle = bundle_path(self.path)
        return bundle if bundle.is_file() else None


def run(args: argparse.Namespace) -> int:
    """Print the findings."""
    path = Path(args.model)
    if args.report is not None and not args.card:
        raise InputError.mismatch(
            expected="--card with --report", got="--report alone", fix="add --card, or leave --report out"
        )
    found = _examine(path, read_whole(path, LIMITS.file_bytes))
    if args.card:
        _print_card(found, args.report)
    elif args.json:
        print(json.dumps(_as_json(found), ensure_ascii=False))
    else:
        # Names are the file's own words: no control characters of theirs reach the terminal.
        print("\n".join(printable(line, _LONGEST_LINE) for line in _lines(found)))
    if found.problem is not None:
        print(f"nip: error: {path}: {found.problem}", file=sys.stderr)
        return _BAD_INPUT
    return 0


def _print_card(found: _Findings, report: Path | None) -> None:
    """The card of a sound file. A file that is none has no card: the error says why."""
    if found.problem is not None:
        return
    if found.manifest is None:
        raise ArtifactError.mismatch(
            expected=f"a defended file at {found.path}",
            got="a plain ONNX model",
            fix="export it with nip export first",
        )
    measured = None if report is None else read_evaluated(report, found.manifest)
    print(model_card(found.path.name, found.manifest, measured), end="")


def _examine(path: Path, content: Buffer) -> _Findings:
    container = parse_container(content, origin=str(path))
    text = container.metadata.get(MANIFEST_KEY)
    if text is None:
        return _Findings(path, container, None, None)
    manifest: Manifest | None = None
    try:
        manifest = read_manifest(text)
        check_container(container, content)
    except ArtifactError as error:
        return _Findings(path, container, manifest, str(error))
    return _Findings(path, container, manifest, None)


def _reading(spec: InputSpec) -> str:
    """How hosts make inputs of files."""
    if spec.preprocess is not None:
        crop = "x".join(map(str, spec.preprocess.crop))
        return (
            f"shorter side resized to {spec.preprocess.resize} ({spec.preprocess.interpolation}), middle"
            f" {crop} taken"
        )
    if spec.sound is None:
        return f"resize {spec.resize or 'none: sizes must match'}"
    return f"recordings at {spec.sound.rate} Hz, the {spec.sound.cut} of longer ones"


def _as_json(found: _Findings) -> dict[str, Any]:
    container = found.container
    return {
        "file": str(found.path),
        "size_bytes": container.size_bytes,
        "weights_size_bytes": container.weights_size_bytes,
        "ir_version": container.ir_version,
        "opsets": dict(container.opsets),
        "producer": container.producer,
        "inputs": [_value_json(value) for value in container.inputs],
        "outputs": [_value_json(value) for value in container.outputs],
        "operators": dict(container.operators),
        "initializers": len(container.initializers),
        "functions": container.functions,
        "graph_digest": container.graph_digest,
        "graph_digest_matches": found.graph_digest_matches,
        "signature": str(found.signature) if found.signature is not None else None,
        "problem": found.problem,
        "manifest": plain(found.manifest) if found.manifest is not None else None,
    }


def _value_json(value: TensorInfo) -> dict[str, Any]:
    return {
        "name": value.name,
        "dtype": value.dtype,
        "shape": list(value.shape) if value.shape else value.shape,
    }


def _lines(found: _Findings) -> list[str]:
    container = found.container
    opsets = ", ".join(f"{domain or 'standard'} {version}" for domain, version in container.opsets.items())
    lines = [
        f"file          {found.path}",
        f"size          {_size(container.size_bytes)}, of which weights {_size(container.weights_size_bytes)}"
        f" in {len(container.initializers)} tensors",
        f"format        ONNX IR {container.ir_version}, operator sets {opsets}",
        f"producer      {container.producer or 'unknown'}",
        *(f"input         {_value_text(value)}" for value in container.inputs),
        *(f"output        {_value_text(value)}" for value in container.outputs),
        f"operators     {sum(container.operators.values())} nodes: "
        + ", ".join(f"{name} {count}" for name, count in container.operators.items()),
        *([] if found.signature is None else [f"signature     {found.signature}, not verified: nip verify"]),
        f"graph digest  {container.graph_digest}",
    ]
    if found.manifest is not None:
        return lines + _manifest_lines(found.manifest, matches=bool(found.graph_digest_matches))
    if found.problem is not None:
        return [*lines, "manifest      unreadable"]
    return [*lines, "manifest      none: a plain ONNX model, without a defence"]


def _manifest_lines(manifest: Manifest, *, matches: bool) -> list[str]:
    defence, calibration, verification = manifest.defence, manifest.calibration, manifest.verification
    provenance, said = manifest.provenance, manifest.input.said
    taps = ", ".join(f"{tap.name} ({tap.channels}x{tap.cells})" for tap in defence.taps)
    fp16 = manifest.precision is Precision.FP16
    screen = "none" if defence.screen_threshold is None else f"{defence.screen_threshold:.4g}"
    return [
        f"              {'matches' if matches else 'DIFFERS FROM'} the manifest",
        f"manifest      schema {manifest.schema_version}, policy {manifest.policy}",
        *_precision_lines(manifest),
        f"classes       {manifest.output.classes}"
        + (f": {', '.join(manifest.output.class_names)}" if manifest.output.class_names else ""),
        f"pixels        within [{manifest.input.bounds[0]:g}, {manifest.input.bounds[1]:g}], layout"
        f" {manifest.input.layout}, {_reading(manifest.input)}",
        f"taps          {taps}",
        f"influence     layer {defence.influence_layer}, top {defence.top_k}, eps {defence.eps_pixel:.4g}",
        f"bank          {_bank_text(manifest)}",
        f"read-outs     {_size(defence.readout_size_bytes)}",
        f"gate          {', '.join(defence.tests)}; screen at {screen}, flag at {defence.flag_threshold:.4g}",
        *_gate_lines(manifest),
        *_honesty_lines(manifest),
        f"calibration   {calibration.images} {said('benign images')}, budget {calibration.benign_budget:.1%}",
        *_label_lines(calibration.labels),
        f"  flagged     {calibration.flag_rate}, of all: {manifest.flag_rate_all or 'not recorded'}",
        f"  pass 2      {calibration.pass2_rate}",
        f"  {calibration.measure:<12}raw {calibration.accuracy_raw}, defended"
        f" {calibration.accuracy_defended}",
        f"verified      {verification.images} {said('images')} at batch"
        f" {', '.join(map(str, verification.batches))}: largest logit error"
        f" {verification.max_abs_logit_error:.2g}, same label"
        f" {verification.argmax_agreement:.2%}",
        f"              within what an export allows: {'2e-3' if fp16 else '1e-4'} of the largest logit, and"
        " more in corrected rows, which magnify rounding",
        *_second_pass_lines(manifest),
        f"made          {provenance.created} by {provenance.tool}, torch {provenance.torch},"
        f" onnx-ir {provenance.onnx_ir}, onnxruntime {provenance.onnxruntime}, seed {provenance.seed}",
        f"data          profile {manifest.digests.profile_data}",
        f"              calibration {manifest.digests.calibration_data}",
        f"weights       {manifest.digests.weights}",
        *(f"known limit   {limit}" for limit in manifest.known_limits),
    ]


def _label_lines(labels: Labels) -> list[str]:
    if labels is Labels.GIVEN:
        return []
    return [
        "  labels      none: the network's own predictions stood in, so its mistakes count as right, and",
        "              agreement is agreement with them",
    ]


def _second_pass_lines(manifest: Manifest) -> list[str]:
    told = manifest.second_pass
    if told is None:
        return ["  pass 2      not recorded"]
    rows = "always at least one row" if told.padding_row else "no row if none is screened"
    if manifest.defence.screen_threshold is None:
        rows = "every row"
    return [f"  pass 2      answers of {told.compared} rows compared; {rows}"]


def _gate_lines(manifest: Manifest) -> list[str]:
    gate = manifest.gate
    if gate is None:
        return ["second view   rho"]  # before manifest 1.3 there was no other
    lines = [
        f"second view   {_view_text(gate.view, gate.rho)}",
        f"typicality    layer {gate.typicality_layer}, {gate.centres} class centres in {gate.directions}"
        " directions",
        f"answer        shifts and {gate.early_weight:.2g} of the early evidence",
    ]
    return lines + [
        f"  view tried  {_view_text(tried.view, tried.rho)}: keeps {tried.kept}, tells own mistakes"
        f" {tried.told:.2f}, repairs {tried.repaired or 'none (none made)'}, moves {tried.strength:.2f}"
        for tried in gate.views_tried
    ]


def _honesty_lines(manifest: Manifest) -> list[str]:
    coverage, verdict = manifest.coverage, manifest.verdict
    lines = []
    if coverage is not None:
        lines.append(
            f"{manifest.input.said('images of'):<13} {coverage.with_images} classes, of"
            f" {coverage.few_images} fewer than 10, of {coverage.without_images} none"
        )
        lines += [f"  pooled      {', '.join(coverage.pooled)}"] if coverage.pooled else []
        lines += (
            [f"  silent      {', '.join(coverage.silent)}, of those with none, or next to none"]
            if coverage.silent
            else []
        )
    if verdict is not None:
        lines += [f"detects       {text}" for text in verdict.detects or ("next to nothing",)]
        lines += [f"cannot detect {text}" for text in verdict.misses]
        lines += [f"to improve    {text}" for text in verdict.advice]
    return lines


def _bank_text(manifest: Manifest) -> str:
    bank = manifest.defence.bank
    if manifest.gate is not None and not manifest.gate.rho:
        return "none: the second view adds no inverse perturbation"
    return f"{bank.rows} inverse perturbations, {_size(bank.size_bytes)} ({bank.storage})"


def _view_text(view: tuple[str, ...], rho: bool) -> str:
    return "+".join([*view, *(["rho"] if rho else [])])


def _precision_lines(manifest: Manifest) -> list[str]:
    lines, conversion, settings = (
        [f"precision     {manifest.precision}"],
        manifest.conversion,
        manifest.settings,
    )
    if conversion is not None:
        lines += [
            f"  same label  {conversion.same_label} as fp32, largest logit change"
            f" {conversion.max_abs_logit_difference:.2g}",
            f"  {manifest.calibration.measure:<12}fp32 {conversion.accuracy_fp32}, {manifest.precision}"
            f" {manifest.calibration.accuracy_raw}",
        ]
    if settings is not None:
        steps = f", {settings.ascent_steps} steps" if settings.perturbation == "ascent" else ""
        lines.append(
            f"asked for     screen rate {settings.screen_rate:g}, perturbation {settings.perturbation}{steps}"
        )
    return lines


def _value_text(value: TensorInfo) -> str:
    shape = (
        "unknown shape"
        if value.shape is None
        else f"({', '.join('?' if d is None else str(d) for d in value.shape)})"
    )
    return f"{value.name}: {value.dtype} {shape}"


def _size(size_bytes: int) -> str:
    if size_bytes < 1024:
        return f"{size_bytes} B"
    kib = size_bytes / 1024
    return f"{kib:.1f} KiB" if kib < 1024 else f"{kib / 1024:.2f} MiB"
