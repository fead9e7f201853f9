"""Watches a video with a defended file and says how fast that goes.

    python -m nip_runtime.operate.video MODEL.nip.onnx SOURCE [--out annotated.mp4]

The part to read is :func:`watch`: frames are read in one thread, brought to the model's size in others,
answered in batches, and drawn upon here, all at the same time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError, NipError
from nip_runtime.operate.video.frames import Frame, Source, check_takes_pictures, to_input
from nip_runtime.operate.video.overlay import VideoFile, annotate
from nip_runtime.operate.video.pace import Pace
from nip_runtime.result import Prediction
from nip_runtime.run.engine.answers import EngineKind
from nip_runtime.session import DefendedSession
from nip_runtime.stream import predict_stream
from nip_runtime.support.dependencies import load
from nip_runtime.support.options import add_device

_BAD_INPUT: Final = 2
_WINDOW: Final = "nip"
_ESCAPE: Final = 27


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; 0 if all went well, 2 if something named on the command line does not work."""
    args = _parser().parse_args(argv)
    try:
        cv2: Any = load("cv2")
        # It writes down every way of opening a camera that failed; whether one worked is asked for below.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        if args.show:
            _open_window()
        source = Source(args.source)
        with DefendedSession(
            args.model, device=args.device, engine=args.engine, threads=args.threads
        ) as session:
            pace = watch(
                session,
                source,
                batch=args.batch or (4 if source.is_live else 16),
                out=args.out,
                frames=args.frames,
                is_shown=args.show,
            )
    except NipError as error:
        print(f"video: error: {error}", file=sys.stderr)
        return _BAD_INPUT
    print(pace.report())
    if args.out is not None and pace.frames:
        print(f"wrote {args.out}")
    return 0


def watch(
    session: DefendedSession,
    source: Source,
    *,
    batch: int,
    out: Path | None = None,
    frames: int | None = None,
    is_shown: bool = False,
) -> Pace:
    """Answer every frame, draw the answers, and say how fast that went.

    Args:
        session: of a model of images.
        source: frames.
        batch: frames per run, at most; a live source never waits for a full batch.
        out: video file to write annotated frames to.
        frames: to stop after; None watches to the end, or until Ctrl-C.
        is_shown: opens a window; Escape ends.

    Raises:
        InputError: if the model does not take the frames, or ``out`` can't be written.
    """
    spec, names = session.manifest.input, session.manifest.output.class_names
    check_takes_pictures(spec)
    pace = Pace(batch=batch)

    def prepare(frame: Frame) -> NDArray[np.uint8]:
        with pace.converting.timing():
            return to_input(frame, spec)

    def predict(images: NDArray[Any]) -> Prediction:
        with pace.computing.timing(len(images)):
            return session.predict(images)

    answers = predict_stream(
        predict,
        source.frames(pace.reading),
        decode=prepare,
        batch=batch,
        runs=1,  # more would blur what a frame costs; with slow copies to a device, take two
        flush_after_ms=0 if source.is_live else None,
    )
    with ExitStack() as stack:
        stack.enter_context(closing(answers))
        file = stack.enter_context(VideoFile(out, source.rate_hz)) if out is not None else None
        stack.enter_context(suppress(KeyboardInterrupt))  # how one stops watching a camera
        for answer in islice(answers, frames):
            pace.answered(answer.item.taken_s, flagged=answer.flagged)
            if file is None and not is_shown:
                continue
            with pace.drawing.timing():
                picture = annotate(answer.item.picture, answer, names)
                if file is not None:
                    file.add(picture)
                if is_shown and not _show(picture):
                    break
    pace.finished()
    return pace


def _open_window() -> None:
    cv2: Any = load("cv2")
    try:
        cv2.namedWindow(_WINDOW, cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise InputError.mismatch(
            expected="an OpenCV with windows, for --show",
            got="a headless one",
            fix="use --out, or install opencv-python in place of opencv-python-headless",
        ) from error


def _show(picture: NDArray[np.uint8]) -> bool:
    """Show a frame; False once Escape was pressed."""
    cv2: Any = load("cv2")
    cv2.imshow(_WINDOW, picture)
    return bool(cv2.waitKey(1) & 0xFF != _ESCAPE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nip_runtime.operate.video",
        description="Watches a video with a defended file, says which frames look attacked, and how fast\n"
        "reading, computing and the whole go.",
        epilog="examples:\n"
        "  python -m nip_runtime.operate.video model.nip.onnx clip.mp4 --out annotated.mp4\n"
        "  python -m nip_runtime.operate.video model.nip.onnx photos/ --batch 32\n"
        "  python -m nip_runtime.operate.video model.nip.onnx 0 --show   (camera; Escape or Ctrl-C ends)\n\n"
        "exit code: 0 all done, 2 wrong usage, model or source",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="F.onnx", help="defended file, made by `nip export`")
    parser.add_argument("source", metavar="SOURCE", help="video file, folder of images, or index of a camera")
    parser.add_argument(
        "--out", type=Path, metavar="V", help="write annotated frames to V: .mp4, .avi or .mkv"
    )
    parser.add_argument(
        "--batch",
        type=_positive,
        metavar="N",
        help="frames per run, at most (default 16, from a camera 4: whatever has come by then)",
    )
    parser.add_argument("--frames", type=_positive, metavar="N", help="stop after N frames")
    parser.add_argument("--show", action="store_true", help="show the frames in a window")
    add_device(parser)
    parser.add_argument(
        "--engine",
        default=EngineKind.AUTO,
        choices=tuple(EngineKind),
        help="how the file is executed: the whole graph, in parts, or (default) whichever costs less",
    )
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="CPU threads for one run (default: all usable cores)"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
