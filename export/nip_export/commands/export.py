"""``nip export``: a trained PyTorch classifier and benign images in, one self-defending ONNX file out."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nip_export.commands.images import heard_input, read_images, read_labelled
from nip_export.commands.numbers import amount, as_shares, interval, number, numbers, preprocess, share, size
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

NAME = "export"
HELP = "turn a trained PyTorch classifier, or an ONNX file, into one ONNX file that defends itself"

_DESCRIPTION = """\
Traces a trained PyTorch classifier into one standard ONNX file that answers, checks and corrects by itself.

The network's weights stay as they are. Benign images give each neuron's influence on each class, what
features usually look like, the view under which suspicious inputs are looked at a second time, inverse
perturbations that strengthen influential neurons, and thresholds that flag at most the stated share of
benign images. The file is compared with PyTorch and numpy before it is written. It runs wherever
onnxruntime does, without torch. With --precision the network is converted first and the thresholds are set
on what it answers then; how far it still agrees with PyTorch is printed, and a conversion that costs over 2
points of accuracy is refused."""

_EPILOG = """\
examples:
  nip export --model my_nets:resnet18 --weights resnet18.safetensors --data benign/ \\
      --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --out resnet18.nip.onnx
  nip export --model my_nets:lenet --data profile.npz --calibration held_out.npz --out lenet.nip.onnx \\
      --policy detect --benign-budget 0.01
  nip export --onnx plain.onnx --data benign/ --size 224x224 --out plain.nip.onnx
  nip export --model my_nets:speakers --data voices/ --rate 8000 --samples 8000 --eps 0.005 \\
      --out speakers.nip.onnx

DATA is a folder with one subfolder per class (any format OpenCV reads; subfolders named by numbers have
these, of others the sorted names give the numbers, unless --classes states the model's own order), an
.npz with `images` (uint8 (N,H,W) or (N,H,W,C), or float (N,C,H,W) in [0,1]) and `labels`, or a Parquet
file, or folder of them, with columns `image` (encoded images, or arrays) and `label`. Use images that the
model was not trained on: at least some 50 per class, better hundreds."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    needed = parser.add_argument_group("what to export")
    network = needed.add_mutually_exclusive_group(required=True)
    network.add_argument(
        "--model", metavar="PKG.MOD:FACTORY", help="function that returns the model, or the model"
    )
    network.add_argument(
        "--onnx",
        type=Path,
        metavar="PLAIN.onnx",
        help="a classifier as an ONNX file instead, where there is no PyTorch source (extra onnx-in): opset "
        "7 or newer, float32 or uint8, channels first or last; the result holds its own graph",
    )
    needed.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help=".safetensors, or a .pt state_dict (loaded as weights only)",
    )
    needed.add_argument(
        "--output",
        metavar="NAME|INDEX",
        help="which of the outputs of the model, or of PLAIN.onnx, holds the logits, if there are several",
    )
    needed.add_argument("--data", type=Path, required=True, metavar="DATA", help="benign images with labels")
    needed.add_argument(
        "--calibration",
        type=Path,
        metavar="DATA",
        help="benign images for the thresholds, disjoint from --data (default: 40%% of --data are held out)",
    )
    needed.add_argument(
        "--unlabelled",
        action="store_true",
        help="take the network's own predictions for labels: DATA may be any folder of images, and "
        "accuracies are agreement with the network",
    )
    needed.add_argument(
        "--column",
        default="",
        metavar="NAME",
        help="of images in Parquet files (default: image, or the only one)",
    )
    needed.add_argument(
        "--label-column",
        default="",
        metavar="NAME",
        help="of class numbers or names in Parquet files (default: label)",
    )
    needed.add_argument(
        "--out", type=Path, required=True, metavar="F.onnx", help="file to write, and F.card.md beside it"
    )
    needed.add_argument(
        "--ui-examples",
        type=Path,
        metavar="DATA",
        help="labelled images, best unseen by model and export, of which a few are attacked for the page of "
        "`nip ui`; written beside F.onnx",
    )
    images = parser.add_argument_group("how the model sees images")
    images.add_argument(
        "--mean",
        type=numbers,
        metavar="M[,M,M]",
        help="subtracted per channel, for pixels in [0, 1]; numbers above 1, here or in --std, are for "
        "pixels in 0…255",
    )
    images.add_argument("--std", type=numbers, metavar="S[,S,S]", help="divides per channel, after --mean")
    images.add_argument(
        "--bounds",
        type=interval,
        default=(0.0, 1.0),
        metavar="LOW,HIGH",
        help="lowest and highest input value, where inputs are not pixels (default 0,1; a waveform's -1,1 is "
        "written --bounds=-1,1); --eps, --mean and --std count in the same unit",
    )
    images.add_argument(
        "--size",
        type=size,
        metavar="HxW",
        help="stretch images (area) to this, whatever their shape, here and later",
    )
    images.add_argument(
        "--preprocess",
        type=preprocess,
        metavar="resize=N,crop=N[,interpolation=I]",
        help="instead, as most networks are trained: bring the shorter side to so many pixels and take the "
        "middle, here and later; crop=N or HxW; I is bilinear (default) or bicubic, as Pillow and "
        "torchvision have them, or area",
    )
    images.add_argument(
        "--bgr",
        action="store_true",
        help="PLAIN.onnx takes blue first, as networks from Caffe do; the result takes red first, and so do "
        "--mean and --std",
    )
    images.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="class names, one per line, in the order of the logits; subfolders are matched by name",
    )
    recordings = parser.add_argument_group("how the model hears recordings, if it takes those")
    recordings.add_argument(
        "--rate", type=int, metavar="HZ", help="samples per second; DATA then holds sound files per class"
    )
    recordings.add_argument(
        "--samples", type=int, metavar="N", help="length of an input (1, N); shorter ones get silence behind"
    )
    recordings.add_argument(
        "--cut", choices=("middle", "start"), default="middle", help="piece of a longer one (default middle)"
    )
    defence = parser.add_argument_group("the defence")
    defence.add_argument(
        "--policy",
        choices=("guarded", "always", "detect"),
        default="guarded",
        help="correct what is flagged (default), perturb every input, or only flag",
    )
    defence.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        default="fp32",
        help="arithmetic of the network (default fp32): fp16 halves its weights and is for GPUs (not yet "
        "measured there; on CPUs it is no faster), int8 (quantised on --data, a scale per channel) quarters "
        "them and is faster on CPUs with VNNI; the defence computes in fp32",
    )
    defence.add_argument(
        "--benign-budget",
        type=number,
        default=0.02,
        metavar="SHARE",
        help="share of correctly classified benign inputs that may be flagged (default 0.02)",
    )
    defence.add_argument(
        "--screen-rate",
        type=number,
        default=0.4,
        metavar="SHARE",
        help="share of benign inputs that may need the second pass (default 0.4; 0.2 costs about 1.2 passes "
        "and some 3 points of repaired attacks, 1 checks every input twice)",
    )
    defence.add_argument(
        "--padding-row",
        choices=("auto", "always"),
        default="auto",
        help="whether a row takes the second pass where the screen picks none, its answer unused: auto "
        "(default), where onnxruntime can't be relied on to run the network without rows; always, for other "
        "engines that can't run an empty batch. A batch without a suspicious row then costs one more row",
    )
    defence.add_argument(
        "--view",
        default="auto",
        metavar="auto|STEPS",
        help="how the second pass looks at an input: auto (default; chosen on benign images), or steps out "
        "of mirror, shift, median, blur, gain, polarity, delay, bits joined by +, with rho last to add the "
        "inverse perturbation (mirror+rho); a mirror is wrong where left and right matter, and auto refuses "
        "it there",
    )
    defence.add_argument(
        "--eps",
        type=number,
        default=8 / 255,
        metavar="E",
        help="largest change of an input value by the inverse perturbation, e.g. 8/255 (the default)",
    )
    defence.add_argument(
        "--taps",
        default="auto",
        metavar="auto|NAME,…",
        help="layers to read out (default: found automatically); NAME:input is what a layer reads, NAME#2 "
        "what its second call returns",
    )
    defence.add_argument(
        "--features",
        metavar="NAME",
        help="layer whose neurons' influence is used (default: what the classifier reads)",
    )
    defence.add_argument(
        "--classifier",
        metavar="NAME",
        help="layer that computes the logits, where it isn't found; its input is the features then",
    )
    defence.add_argument(
        "--force",
        action="store_true",
        help="write the file even if its gate can hardly ever fire, or `always` costs over 10 points",
    )
    defence.add_argument(
        "--self-test",
        action="store_true",
        help="attack up to 64 held-back images once the file stands, and print what it detects and repairs",
    )
    defence.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seeds split and ascent (default 0)"
    )
    images.add_argument(
        "--expect-accuracy",
        type=share,
        metavar="SHARE",
        help="the accuracy that the network is known to reach, such as 0.92: benign images far below it are "
        "warned about, for they are mostly prepared in another way than those of the training",
    )
    work = parser.add_argument_group("how it works")
    work.add_argument(
        "--resume",
        type=Path,
        metavar="DIR",
        help="keep finished stages there; the same command goes on after the last of them if it was stopped",
    )
    work.add_argument(
        "--device",
        metavar="D",
        help="where torch works: cpu (default), cuda or cuda:1; the finished file runs on either. Never yet "
        "run on a GPU",
    )
    work.add_argument(
        "--memory",
        type=amount,
        metavar="4G",
        help="what this process may hold at its peak, for batches to be fitted to (default: 3G, or half of "
        "what the machine or its cgroup leaves, if that is less)",
    )
    work.add_argument(
        "--batch-size",
        type=int,
        default=256,
        metavar="N",
        help="images per pass, at most (default 256; fewer where memory is short)",
    )


def run(args: argparse.Namespace) -> int:
    """Export; returns the exit status."""
    passive_waiting()
    keep_freed_memory()
    # torch takes seconds to import, and `nip --help` imports this module.
    from nip_evaluate.ui_examples import write_ui_examples
    from nip_export.config import ExportConfig
    from nip_export.network.loading import image_channels
    from nip_export.network.rebuilt import OnnxNetwork
    from nip_export.pipeline import export_defended
    from nip_export.support.device import placed
    from nip_export.support.overall import overall_progress

    names = _class_names(args.classes) if args.classes is not None else None
    heard = heard_input(args)
    model = _network(args)
    bounds = heard.bounds if heard is not None else args.bounds
    if args.size is not None and args.preprocess is not None:
        raise InputError.mismatch(
            expected="--size, which stretches, or --preprocess, which crops",
            got="both",
            fix="name the one that the network was trained with",
        )
    # What is wrong in the options shows before images are read, which may take minutes.
    check_target(args.out, error=ExportError)
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
    with placed(model, args.device), overall_progress() as progress:
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
        beside = None
        if shown is not None:
            beside = write_ui_examples(report, shown, data, seed=args.seed, progress=progress)
    print(report.summary())
    card = args.out.with_name(args.out.name.removesuffix(".onnx") + ".card.md")
    write_whole(card, model_card(args.out.name, report.manifest).encode(), error=ExportError)
    print(f"{'model card':<16}  {card}")
    if args.expect_accuracy is not None:
        _compare_accuracy(report.manifest.calibration.accuracy_raw, args.expect_accuracy, args.unlabelled)
    if beside is not None:
        print(f"{'examples':<16}  {beside}  for nip ui {args.out}")
    return 0


def _read(
    args: argparse.Namespace,
    config: ExportConfig,
    channels: int | None,
    names: tuple[str, ...] | None,
    heard: InputSpec | None,
    progress: Overall,
) -> tuple[ImageSet, ImageSet | None, ImageSet | None]:
    """Images of --data, --calibration and --ui-examples; what is to come is known once they are counted."""
    from nip_evaluate.ui_examples import check_ui_examples
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
        shape = (args.samples,)
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


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.mismatch(
            expected=f"class names, one per line, in {path}",
            got=str(error),
            fix="check the path and the encoding",
        ) from error
    return tuple(line.strip() for line in lines if line.strip())
