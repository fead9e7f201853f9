"""``nip export``: a trained PyTorch classifier and benign images in, one self-defending ONNX file out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nip_export.commands.export_options import configure
from nip_export.commands.images import heard_input, read_images, read_labelled
from nip_export.commands.numbers import as_shares
from nip_export.commands.threads import keep_freed_memory, passive_waiting
from nip_runtime.errors import ExportError, InputError
from nip_runtime.file.rates import Rate
from nip_runtime.operate.card import model_card
from nip_runtime.support.writing import check_target, write_whole

if TYPE_CHECKING:
    from torch import nn

    from nip_export.config import ExportConfig
    from nip_export.data import ImageSet
    from nip_export.support.overall import Overall
    from nip_export.support.progress import Advance
    from nip_runtime.file.manifest import InputSpec

__all__ = ["HELP", "NAME", "configure", "run"]

NAME = "export"
HELP = "turn a trained PyTorch classifier, or an ONNX file, into one ONNX file that defends itself"


def run(args: argparse.Namespace) -> int:
    """Export; returns the exit status."""
    passive_waiting()
    keep_freed_memory()
    # torch takes seconds to import, and `nip --help` imports this module.
    from nip_export.config import ExportConfig
    from nip_export.fit.kept import check_folder
    from nip_export.network.loading import image_channels
    from nip_export.network.rebuilt import OnnxNetwork
    from nip_export.pipeline import export_defended
    from nip_export.support.device import placed
    from nip_export.support.overall import overall_progress

    if args.size is not None and args.preprocess is not None:
        raise InputError.mismatch(
            expected="--size, which stretches, or --preprocess, which crops",
            got="both",
            fix="name the one that the network was trained with",
        )
    names = class_names_in(args.classes) if args.classes is not None else None
    heard = heard_input(args)
    model = _network(args)
    bounds = heard.bounds if heard is not None else args.bounds
    # What is wrong in the options shows before images are read, which may take minutes.
    check_target(args.out, error=ExportError)
    if args.resume is not None:
        check_folder(args.resume)
    mean, std, divided = as_shares(args.mean, args.std, args.bounds)
    if divided:
        print("--mean and --std are taken for pixels in 0…255 and divided by 255", file=sys.stderr)
    config = ExportConfig(
        policy=args.policy,
        precision=args.precision,
        benign_budget=args.benign_budget,
        screen_rate=args.screen_rate,
        padding_row=args.padding_row,
        view=args.view,
        eps=args.eps,
        taps=args.taps if args.taps == "auto" else tuple(args.taps.split(",")),
        features=args.features,
        classifier=args.classifier,
        output=args.output if args.onnx is None else None,
        mean=mean,
        std=std,
        bounds=bounds,
        resize="area" if args.size is not None else None,
        preprocess=args.preprocess,
        sound=heard.sound if heard is not None else None,
        seed=args.seed,
        memory=args.memory,
        batch_size=args.batch_size,
        force=args.force,
        self_test=args.self_test,
    )
    if isinstance(model, OnnxNetwork):
        config = replace(config, input_name=model.names[0], output_name=model.names[1])
    with placed(model, args.device), _telling_how_to_go_on(args.resume), overall_progress() as progress:
        data, held_out, shown = _read(args, config, image_channels(model), names, heard, progress)
        config = replace(config, class_names=names if names is not None else data.class_names)
        report = export_defended(
            model,
            data.kept,
            None if args.unlabelled else data.labels,
            args.out,
            calibration=None
            if held_out is None
            else (held_out.kept, None if args.unlabelled else held_out.labels),
            config=config,
            progress=progress,
            resume=args.resume,
        )
        beside, began = None, time.perf_counter()
        if shown is not None:
            from nip_evaluate.report.ui_examples import write_ui_examples

            beside = write_ui_examples(report, shown, data, seed=args.seed, progress=progress)
        examples_s = time.perf_counter() - began
    print(report.summary())
    card = args.out.with_name(args.out.name.removesuffix(".onnx") + ".card.md")
    write_whole(card, model_card(args.out.name, report.manifest).encode(), error=ExportError)
    print(f"{'model card':<16}  {card}")
    if args.expect_accuracy is not None:
        _compare_accuracy(report.manifest.calibration.accuracy_raw, args.expect_accuracy, args.unlabelled)
    if beside is not None:
        print(f"{'examples':<16}  {beside}  for nip ui {args.out}, made in another {examples_s:.0f} s")
    return 0


@contextmanager
def _telling_how_to_go_on(resume: Path | None) -> Iterator[None]:
    """What an export that Ctrl-C stops leaves, and how the next one need not begin anew."""
    try:
        yield
    except KeyboardInterrupt:
        with_it = (
            "the same command" if resume is not None else "with --resume DIR, an export that was stopped"
        )
        raise KeyboardInterrupt(f"stopped; {with_it} goes on where it was") from None


def _read(
    args: argparse.Namespace,
    config: ExportConfig,
    channels: int | None,
    names: tuple[str, ...] | None,
    heard: InputSpec | None,
    progress: Overall,
) -> tuple[ImageSet, ImageSet | None, ImageSet | None]:
    """Images of --data, --calibration and --ui-examples; what is to come is known once they are counted."""
    from nip_export.fit.stages import EXAMPLES, export_stages
    from nip_export.support.overall import Stage

    counts: list[int] = []

    def expect() -> None:
        share = config.calibration_fraction
        two = counts if len(counts) == 2 else [round((1 - share) * counts[0]), round(share * counts[0])]
        after = [Stage(EXAMPLES, 8, 500)] if args.ui_examples is not None else []
        progress.expect([*export_stages(config, *two), *after])

    def reading(title: str, total: int) -> Advance:
        counts.append(total)
        expect()
        return progress(title, total)

    read = partial(
        read_labelled,
        size=args.size,
        names=names,
        heard=heard,
        bounds=config.bounds,
        channels=channels,
        preprocess=args.preprocess,
        columns=(args.column, args.label_column),
        is_labelled=not args.unlabelled,
        progress=reading,
    )
    data = read(args.data)
    held_out = read(args.calibration) if args.calibration is not None else None
    if held_out is not None and data.class_names and held_out.class_names not in (None, data.class_names):
        raise InputError.mismatch(
            expected=f"the same classes in --calibration as in --data: {', '.join(data.class_names[:5])} …",
            got=f"{', '.join((held_out.class_names or ())[:5])} …",
            fix="use the same subfolder names in both",
        )
    shown = None
    if args.ui_examples is not None:
        from nip_evaluate.report.ui_examples import check_ui_examples

        shown = read_images(
            args.ui_examples,
            args.size,
            names,
            preprocess=args.preprocess,
            columns=(args.column, args.label_column),
        )
        check_ui_examples(args.out, shown, data)
    counts[:] = [len(data), *([] if held_out is None else [len(held_out)])]
    expect()
    return data, held_out, shown


def _network(args: argparse.Namespace) -> nn.Module:
    """The network of --model, or that of --onnx."""
    from nip_export.network.loading import load_model

    if args.onnx is None:
        if args.bgr:
            raise ExportError("--bgr goes with --onnx; let the model of --model turn the channels around")
        return load_model(args.model, weights=args.weights)
    if args.weights is not None:
        raise ExportError("--weights goes with --model; an ONNX file holds its own weights")
    from nip_export.onnx_in import from_onnx

    shape = args.size if args.preprocess is None else args.preprocess.crop
    if args.samples is not None:
        shape = (1, args.samples)
    return from_onnx(args.onnx, output=args.output, shape=shape, is_bgr=args.bgr)


def _compare_accuracy(found: Rate, expected: float, unlabelled: bool) -> None:
    """Warn where benign images are right less often than chance explains."""
    if unlabelled:
        print("--expect-accuracy: without labels, accuracy is not known", file=sys.stderr)
    elif found.interval[1] < expected:
        print(
            f"warning: the network is right on {found} of the calibration images, expected {expected:.1%}: "
            "check size and crop, mean and std, channels and class numbers against the training",
            file=sys.stderr,
        )


def class_names_in(path: Path) -> tuple[str, ...]:
    """The names in a text file, one per line; a byte order mark in front is no part of the first."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.mismatch(
            expected=f"class names, one per line, in {path}",
            got=str(error),
            fix="check the path and the encoding",
        ) from error
    return tuple(line.strip() for line in lines if line.strip())
