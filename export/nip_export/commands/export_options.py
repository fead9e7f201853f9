"""The options of ``nip export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nip_export.commands.numbers import amount, interval, number, numbers, part, preprocess, share, size

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
model was not trained on: of ten classes at least some 50 each, better hundreds; of a thousand classes, 500
images in all have done."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    for add in (_what, _images, _recordings, _defence, _work):
        add(parser)


def _what(parser: argparse.ArgumentParser) -> None:
    """The network, its data, and where the file goes."""
    needed = parser.add_argument_group("what to export")
    network = needed.add_mutually_exclusive_group(required=True)
    network.add_argument(
        "--model",
        metavar="PKG.MOD:FACTORY",
        help="function that returns the model, or the model itself, in a module that Python finds from this "
        "folder, such as torchvision.models:resnet50",
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
        help="trained weights: .safetensors, or a .pt state_dict (loaded as weights only); without it, those "
        "that FACTORY's model already has",
    )
    needed.add_argument(
        "--output",
        metavar="NAME|INDEX",
        help="which of the outputs of the model, or of PLAIN.onnx, holds the logits, if there are several; "
        "also a value inside PLAIN.onnx",
    )
    needed.add_argument(
        "--data", type=Path, required=True, metavar="DATA", help="benign images with labels; forms: see below"
    )
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


def _images(parser: argparse.ArgumentParser) -> None:
    """How the network sees images."""
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
    images.add_argument(
        "--expect-accuracy",
        type=share,
        metavar="SHARE",
        help="the accuracy that the network is known to reach, such as 0.92: benign images far below it are "
        "warned about, for they are mostly prepared in another way than those of the training",
    )


def _recordings(parser: argparse.ArgumentParser) -> None:
    """How the network hears recordings."""
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


def _defence(parser: argparse.ArgumentParser) -> None:
    """The defence itself."""
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
        type=part,
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
        "and some of the repaired attacks, 1 checks every input twice)",
    )
    defence.add_argument(
        "--padding-row",
        choices=("auto", "always"),
        default="auto",
        help="whether a row takes the second pass where the screen picks none, its answer unused: auto "
        "(default), where onnxruntime can't be relied on to run the network without rows; always, for other "
        "engines that can't run an empty batch (WebGPU; OpenVINO with max pooling). A batch without a "
        "suspicious row then costs one more row",
    )
    defence.add_argument(
        "--view",
        default="auto",
        metavar="auto|STEPS",
        help="how the second pass looks at an input: auto (default; chosen on benign images), or steps out "
        "of mirror, shift, median, blur, gain, polarity, delay, bits, jpegQ (Q: 50, 60, 70, 75, 80, 85, 90) "
        "joined by +, with rho last to add the inverse perturbation (mirror+rho); a mirror is wrong where "
        "left and right matter, and auto refuses it; auto begins with jpegQ where images were stored so",
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
        help="write the file even if its gate can hardly ever fire, `always` costs over 10 points, or "
        "calibration images are among the profile images too",
    )
    defence.add_argument(
        "--self-test",
        action="store_true",
        help="attack up to 64 held-back images once the file stands, and print what it detects and repairs",
    )
    defence.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seeds split and ascent (default 0)"
    )


def _work(parser: argparse.ArgumentParser) -> None:
    """Memory, device, and stages that are kept."""
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
