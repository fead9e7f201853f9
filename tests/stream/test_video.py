from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.inputs.images import read_file
from nip_runtime.operate.video.__main__ import main, watch
from nip_runtime.operate.video.frames import Frame, Source, check_takes_pictures, to_input
from nip_runtime.operate.video.overlay import VideoFile, annotate
from nip_runtime.operate.video.pace import Meter, Pace
from nip_runtime.session import DefendedSession
from nip_runtime.stream import predict_stream

ASSETS = Path(__file__).parents[2] / "export" / "nip_export" / "demo" / "assets"
SIDE = 280
RATE_HZ = 12.0


@pytest.fixture(scope="module")
def pictures(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """40 frames (280, 280, 3): images of the embedded example, and attacked ones of the golden file."""
    with np.load(ASSETS / "images.npz") as stored:
        benign = stored["test_images"][:20]
    return [
        np.asarray(cv2.cvtColor(image.repeat(10, axis=0).repeat(10, axis=1), cv2.COLOR_GRAY2BGR), np.uint8)
        for image in (*benign, *images[-20:])
    ]


@pytest.fixture(scope="module")
def clip(pictures: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE_HZ, (SIDE, SIDE))
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path))
    frames: list[NDArray[np.uint8]] = []
    while True:
        is_there, frame = capture.read()
        if not is_there:
            return frames
        frames.append(np.asarray(frame, np.uint8))


def by_hand(session: DefendedSession, frames: list[NDArray[np.uint8]]) -> list[int]:
    small = [
        cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (28, 28), interpolation=cv2.INTER_AREA)
        for frame in frames
    ]
    labels: list[int] = session.predict(np.asarray(np.stack(small), np.uint8)).labels.tolist()
    return labels


def test_every_frame_of_a_video_is_answered_as_predict_answers_it(
    session: DefendedSession, clip: Path, tmp_path: Path
) -> None:
    frames = decoded(clip)
    assert len(frames) == 40
    source = Source(str(clip))
    assert (source.is_live, source.rate_hz) == (False, RATE_HZ)
    stream = predict_stream(
        session.predict,
        source.frames(Meter()),
        decode=lambda frame: to_input(frame, session.manifest.input),
        batch=7,
    )
    labels = by_hand(session, frames)
    assert [answer.label for answer in stream] == labels
    assert len(set(labels)) > 5

    out = tmp_path / "annotated.avi"
    pace = watch(session, Source(str(clip)), batch=7, out=out)
    drawn = decoded(out)
    assert (pace.frames, len(drawn)) == (40, 40)
    assert 0 < pace.flagged < 40
    assert {pace.reading.frames, pace.converting.frames, pace.computing.frames, pace.drawing.frames} == {40}
    assert drawn[0].shape == (SIDE + 36, SIDE, 3)
    for frame, picture in zip(frames, drawn, strict=True):
        assert np.abs(frame[20:260, 20:260].astype(int) - picture[20:260, 20:260]).mean() < 8  # JPEG again
    bands = np.array([picture[SIDE + 5, 3] for picture in drawn]).astype(int)
    assert np.count_nonzero(bands[:, 2] > bands[:, 1]) == pace.flagged  # red ones
    assert list(tmp_path.iterdir()) == [out]


def test_the_program_reads_folders_and_prints_its_pace(
    session: DefendedSession,
    pictures: list[NDArray[np.uint8]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, picture in enumerate(pictures[:6]):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    (tmp_path / "notes.txt").write_text("no picture")
    assert main([str(session.path), str(tmp_path), "--device", "cpu", "--threads", "1", "--batch", "4"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("6 frames, ")
    assert [line.split()[0] for line in printed.out.splitlines()[1:]] == [
        "decode",
        "convert",
        "compute",
        "total",
        "latency",
    ]
    assert printed.err == ""


def test_watching_stops_after_so_many_frames(session: DefendedSession, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "annotated.mp4"
    pace = watch(session, Source(str(clip)), batch=4, out=out, frames=9)
    assert (pace.frames, len(decoded(out))) == (9, 9)


class Camera(Source):
    """A live source that never ends; a while after the first frames somebody presses Ctrl-C."""

    def __init__(self, clip: Path) -> None:
        super().__init__(str(clip))
        self.is_live = True

    def frames(self, meter: Meter) -> Iterator[Frame]:
        recorded = list(super().frames(meter))
        for number, frame in enumerate(itertools.cycle(recorded)):
            if number == 60:
                signal.raise_signal(signal.SIGINT)  # reaches the main thread
            yield frame


@pytest.fixture
def ctrl_c_interrupts() -> Iterator[None]:
    """Also where the tests run in the background of a shell, which then has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_a_camera_is_watched_until_ctrl_c(session: DefendedSession, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "annotated.avi"
    pace = watch(session, Camera(clip), batch=4, out=out, frames=5000)
    assert 40 <= pace.frames < 5000  # no more than 12 are on their way when it is pressed
    assert len(decoded(out)) in (pace.frames - 1, pace.frames)
    assert pace.report().startswith(f"{pace.frames} frames, {pace.flagged} flagged, in ")


def test_a_video_that_fails_half_way_leaves_no_file(
    session: DefendedSession, pictures: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    for number, picture in enumerate(pictures[:6]):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    (tmp_path / "4.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"expected an image at .*4\.png"):
        watch(session, Source(str(tmp_path)), batch=2, out=tmp_path / "out.avi")
    assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".*"))


def test_answers_are_drawn_without_touching_the_frame(
    session: DefendedSession, pictures: list[NDArray[np.uint8]]
) -> None:
    tiny = pictures[0][::10, ::10]
    frame = Frame(tiny, 0.0)
    (answer,) = predict_stream(
        session.predict, [frame], decode=lambda frame: to_input(frame, session.manifest.input)
    )
    before = tiny.copy()
    drawn = annotate(tiny, answer, session.manifest.output.class_names)
    assert drawn.shape == (9 * 28 + 36, 9 * 28, 3)  # enlarged, or nobody could read it
    np.testing.assert_array_equal(tiny, before)
    np.testing.assert_array_equal(annotate(tiny, answer, None)[:252], drawn[:252])
    white = (drawn[-3:] == 255).all(axis=2).mean()
    assert white == pytest.approx(answer.suspicion, abs=0.01)


@pytest.mark.parametrize(("channels", "tolerance"), [(1, 1), (3, 0)])
def test_colours_are_those_that_nip_predict_sees(
    session: DefendedSession, tmp_path: Path, channels: int, tolerance: int
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "colours.png"), picture)
    spec = replace(session.manifest.input, shape=(channels, 28, 28), mean=None, std=None)
    read = read_file(tmp_path / "colours.png", spec)[0].astype(int)
    assert np.abs(to_input(Frame(picture, 0.0), spec) - read).max() <= tolerance


def test_a_model_of_other_channels_cannot_watch(session: DefendedSession) -> None:
    spec = replace(session.manifest.input, shape=(4, 28, 28), mean=None, std=None)
    with pytest.raises(InputError, match="expected a model of grey or colour images"):
        check_takes_pictures(spec)


def test_frames_of_all_sizes_fit_one_file(tmp_path: Path, pictures: list[NDArray[np.uint8]]) -> None:
    with VideoFile(tmp_path / "v.avi", 10) as file:
        file.add(pictures[0])
        file.add(pictures[1][:100, :50])
    assert [frame.shape for frame in decoded(tmp_path / "v.avi")] == [(SIDE, SIDE, 3)] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4"], "a camera's index, got 'nowhere.mp4'; check the path"),
        (["63"], "expected camera 63, got nothing that OpenCV can open"),
        (
            ["CLIP", "--out", "x.gif"],
            "expected a file ending in .mp4, .avi, .mkv, got x.gif; choose one of these endings",
        ),
        (["CLIP", "--out", "nowhere/x.avi"], "expected a place to write nowhere/x.avi"),
        (["CLIP", "--show"], "expected an OpenCV with windows, for --show, got a headless one; use --out"),
    ],
)
def test_what_does_not_work_is_said_in_one_line(
    session: DefendedSession,
    clip: Path,
    arguments: list[str],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if "--show" in arguments and "GUI:                           NONE" not in cv2.getBuildInformation():
        pytest.skip("this OpenCV has windows")
    named = [str(clip) if argument == "CLIP" else argument for argument in arguments]
    assert main([str(session.path), *named, "--device", "cpu"]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("video: error: ") and printed.err.count("\n") == 1
    assert message in printed.err


def test_it_runs_as_a_program(session: DefendedSession, clip: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nip_runtime.operate.video", str(session.path), str(clip), "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "total" in done.stdout


def test_nothing_watched_is_said_so() -> None:
    assert Pace(batch=4).report() == "no frames"
