"""What the page is put together from, and what is refused before anything is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from nip_runtime.errors import ArtifactError, DependencyError, InputError
from nip_runtime.file.artifact import opened
from nip_runtime.file.manifest import Manifest
from nip_runtime.operate.ui.engine import FILES, fetch_engine, read_engine
from nip_runtime.operate.ui.examples import MOST_PICTURES, examples_beside
from nip_runtime.operate.ui.site import POLICY, build_site, write_site
from nip_runtime.operate.ui.watch import Curve, bank_bytes, watch
from nip_runtime.session import DefendedSession
from tests.ui.conftest import GOLDENS, PREPARED, STEP

NEW = ["always", "detect", "guarded", "mirror-median", "shift", "blur-gain-bits-rho"]
FLOAT_ROUNDING = 2e-4


def evaluate(curve: Curve, at: float) -> float:
    """As the page does: see gate.js."""
    widths = [*np.diff(curve.knots), np.inf]
    steps = zip(curve.knots, widths, curve.slopes, strict=True)
    return float(curve.base + sum(slope * min(max(at - knot, 0), width) for knot, width, slope in steps))


@pytest.mark.parametrize("name", NEW)
def test_what_is_watched_adds_up_to_the_suspicion(name: str) -> None:
    model = GOLDENS / f"{name}.onnx"
    with opened(model) as (artifact, content):
        watched = watch(artifact, content)
    assert [test.key for test in watched.tests] == ["disagreement", "typicality", "response", "change"]
    assert list(artifact.manifest.defence.tests) == [test.key for test in watched.tests]
    session = onnxruntime.InferenceSession(content + watched.patch, providers=["CPUExecutionProvider"])
    with np.load(model.with_suffix(".npz")) as kept:
        images, wanted = kept["images"], kept["suspicion"]
    assert watched.suspicion is not None
    seen = 0
    for row, image in enumerate(images):
        values = session.run(None, {"input": image[None, None].astype(np.float32) / 255})
        by_name = {output.name: value for output, value in zip(session.get_outputs(), values, strict=True)}
        score = sum(
            evaluate(test.tail, float(by_name[test.value][0, 0]))
            for test in watched.tests
            if len(by_name[test.value])
        )
        assert min(evaluate(watched.suspicion, score), 1) == pytest.approx(
            float(wanted[row]), abs=FLOAT_ROUNDING
        )
        assert watched.second_input is not None and watched.second_logits is not None
        assert len(by_name[watched.second_input]) == len(by_name[watched.second_logits])
        seen += len(by_name[watched.second_input])
    assert 0 < seen <= len(images)


@pytest.mark.parametrize("name", ["always-1.2", "detect-1.2", "guarded-1.2"])
def test_old_files_show_the_tests_that_they_have(name: str) -> None:
    with opened(GOLDENS / f"{name}.onnx") as (artifact, content):
        watched = watch(artifact, content)
    assert {test.key for test in watched.tests} == {"disagreement", "response"}
    session = onnxruntime.InferenceSession(content + watched.patch, providers=["CPUExecutionProvider"])
    assert {test.value for test in watched.tests} <= {output.name for output in session.get_outputs()}


def test_rho_is_what_the_file_stores() -> None:
    with opened(GOLDENS / "always.onnx") as (artifact, content):
        bank, stated = bank_bytes(artifact, content), artifact.manifest.defence.bank
    assert bank is not None
    assert len(bank) == stated.rows * int(np.prod(stated.shape))
    with opened(GOLDENS / "mirror-median.onnx") as (artifact, content):
        assert bank_bytes(artifact, content) is None


def test_the_page_holds_the_very_file_and_the_examples(
    golden: Path, prepared: Path, pictures: Path, some_engine: Path
) -> None:
    site = build_site(golden, examples=prepared, images=pictures, engine=some_engine)
    assert site.files["model.onnx"] == golden.read_bytes()
    assert f'content="{POLICY}"'.encode() in site.files["index.html"]
    facts = json.loads(site.files["facts.json"])
    assert facts["examples"]["count"] == PREPARED + 2
    assert facts["examples"]["prepared"] == PREPARED
    assert facts["examples"]["attacks"] == [
        {"name": "Signs", "eps": STEP},
        {"name": "Signs", "eps": 2 * STEP},
    ]
    assert facts["examples"]["labels"][-2:] == [None, None]
    assert facts["examples"]["names"][-2:] == ["20.png", "21.png"]
    assert facts["measured"] is None
    with np.load(prepared) as packed, np.load(golden.with_suffix(".npz")) as kept:
        images = np.concatenate([packed["images"], kept["images"][20:22, :, :, None]])
        wanted = images.tobytes() + packed["attacked"].tobytes() + packed["universal"].tobytes()
    assert site.files["examples.bin"] == wanted


def test_every_file_that_the_page_asks_for_is_there(golden: Path, some_engine: Path) -> None:
    site = build_site(golden, engine=some_engine)
    scripts = "".join(
        content.decode() for name, content in site.files.items() if name.endswith((".js", ".html"))
    )
    for name in site.files:
        asked = name.removeprefix("engine/ort-wasm").removeprefix("engine/") if "engine" in name else name
        assert asked in scripts or name.startswith("engine/ort-wasm") or name == "index.html"
    for foreign in ("http://", "https://", "//cdn", "eval(", "innerHTML", "style="):
        assert foreign not in scripts.replace("http://www.w3.org/2000/svg", "")


def test_examples_beside_the_file_are_found(
    golden: Path, prepared: Path, some_engine: Path, tmp_path: Path
) -> None:
    model = tmp_path / "mine.nip.onnx"
    model.write_bytes(golden.read_bytes())
    without = build_site(model, engine=some_engine)
    assert "--ui-examples" in without.notes[0]
    assert examples_beside(model) == tmp_path / "mine.nip.examples.npz"
    examples_beside(model).write_bytes(prepared.read_bytes())
    found = build_site(model, engine=some_engine)
    assert found.notes == ()
    assert json.loads(found.files["facts.json"])["examples"]["count"] == PREPARED


def test_pictures_in_folders_named_after_classes_have_labels(
    golden: Path, manifest: Manifest, some_engine: Path, tmp_path: Path
) -> None:
    assert manifest.output.class_names is not None
    named = tmp_path / manifest.output.class_names[7]
    named.mkdir()
    for row in range(MOST_PICTURES + 3):
        assert cv2.imwrite(str(named / f"{row:02}.png"), np.full((28, 28), row, np.uint8))
    site = build_site(golden, images=tmp_path, engine=some_engine)
    examples = json.loads(site.files["facts.json"])["examples"]
    assert examples["labels"] == [7] * MOST_PICTURES
    assert "3 pictures" in site.notes[0]


def test_a_picture_that_does_not_fit_is_named(some_engine: Path, tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "large.png"), np.zeros((40, 40), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.png.*decode"):
        build_site(GOLDENS / "shift.onnx", images=tmp_path, engine=some_engine)
    (tmp_path / "broken.png").unlink()
    np.save(tmp_path / "floats.npy", np.zeros((1, 1, 28, 28), np.float32))
    with pytest.raises(InputError, match=r"floats\.npy.*float32"):
        build_site(GOLDENS / "shift.onnx", images=tmp_path, engine=some_engine)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda parts: parts.pop("universal"), "universal"),
        (lambda parts: parts.update(graph_digest=np.array("sha256:" + "0" * 64)), "those of another graph"),
        (lambda parts: parts.update(images=parts["images"].astype(np.float32)), "images uint8"),
        (lambda parts: parts.update(attacked=parts["attacked"][:, 1:]), "attacked uint8"),
        (lambda parts: parts.update(labels=parts["labels"] + 10), "labels below 10"),
        (lambda parts: parts.update(images=np.array([{}], dtype=object)), "allow_pickle"),
    ],
)
def test_wrong_examples_are_refused(
    golden: Path,
    prepared: Path,
    some_engine: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], Any],
    told: str,
) -> None:
    with np.load(prepared) as packed:
        parts = dict(packed)
    change(parts)
    np.savez(tmp_path / "wrong.npz", **parts)
    with pytest.raises(InputError, match=told):
        build_site(golden, examples=tmp_path / "wrong.npz", engine=some_engine)


def test_examples_that_are_none_are_refused(golden: Path, some_engine: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive", encoding="utf-8")
    for path in (tmp_path / "text.npz", tmp_path / "absent.npz", tmp_path):
        with pytest.raises(InputError, match="prepared examples at") as caught:
            build_site(golden, examples=path, engine=some_engine)
        assert "pickle" not in str(caught.value), "no advice to load it unsafely"


def report(digest: str, threats: list[str]) -> dict[str, Any]:
    rate = {"count": 3, "n": 24, "value": 0.125, "low": 0.04, "high": 0.31}
    cases = [
        {"threats": threats, "epsilon": epsilon, "attacks": 6, "undefended": rate, "defended": rate}
        for epsilon in (None, 25 / 255, 8 / 255)
    ]
    return {"schema_version": "1.2", "subject": {"graph_digest": digest}, "worst_case": cases}


def test_the_page_tells_what_adaptive_attackers_leave(
    golden: Path, manifest: Manifest, some_engine: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report(manifest.digests.graph, ["T4"])), encoding="utf-8")
    measured = json.loads(build_site(golden, report=path, engine=some_engine).files["facts.json"])["measured"]
    assert [each["epsilon"] for each in measured] == [8 / 255, 25 / 255]
    left = measured[0]["defended"]
    assert (measured[0]["attacks"], left["count"], left["n"]) == (6, 3, 24)
    path.write_text(json.dumps(report(manifest.digests.graph, ["T1"])), encoding="utf-8")
    assert (
        json.loads(build_site(golden, report=path, engine=some_engine).files["facts.json"])["measured"] == []
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (json.dumps(report("sha256:" + "0" * 64, ["T4"])), "that of another graph"),
        ('{"subject": {}}', "something else"),
        ("[]", "something else"),
        ("no json", "something else"),
        ("[" * 100_000, "something else"),
    ],
)
def test_wrong_reports_are_refused(
    golden: Path, some_engine: Path, tmp_path: Path, content: str, told: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        build_site(golden, report=path, engine=some_engine)
    with pytest.raises(InputError, match="nothing there"):
        build_site(golden, report=tmp_path / "absent.json", engine=some_engine)


def test_a_plain_model_and_a_damaged_one_are_refused(golden: Path, some_engine: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(golden.read_bytes()[:-40])
    with pytest.raises(ArtifactError):
        build_site(tmp_path / "cut.onnx", engine=some_engine)


def test_without_onnxruntime_web_the_error_names_the_command(
    golden: Path, some_engine: Path, tmp_path: Path
) -> None:
    with pytest.raises(DependencyError, match="nip ui --fetch"):
        build_site(golden, engine=tmp_path)
    for name in FILES:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "version.txt").write_text("1.0.0\n", encoding="utf-8")
    with pytest.raises(DependencyError, match=r"got version 1\.0\.0"):
        read_engine(tmp_path)
    assert set(read_engine(some_engine)) == set(FILES)


def test_fetching_says_what_npm_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match=r"install Node\.js"):
        fetch_engine(tmp_path / "engine")
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network is down' >&2\nexit 1\n", encoding="utf-8")
    npm.chmod(0o755)
    with pytest.raises(DependencyError, match="network is down"):
        fetch_engine(tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_the_page_is_written_for_other_servers(golden: Path, some_engine: Path, tmp_path: Path) -> None:
    site = build_site(golden, engine=some_engine)
    write_site(site, tmp_path / "public")
    write_site(site, tmp_path / "public")
    written = {
        path.relative_to(tmp_path / "public").as_posix() for path in (tmp_path / "public").rglob("*.*")
    }
    assert written == set(site.files)
    assert all((tmp_path / "public" / name).read_bytes() == content for name, content in site.files.items())
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="a folder"):
            write_site(site, place)


def test_a_folder_of_other_things_is_left_alone(golden: Path, some_engine: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        (photos / name).write_bytes(b"mine")
    with pytest.raises(
        InputError, match=r"got .*photos with a\.jpg, b\.jpg, c\.jpg …; name another with --static"
    ):
        write_site(build_site(golden, engine=some_engine), photos)
    assert sorted(entry.name for entry in photos.iterdir()) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def test_a_model_of_something_else_than_images_is_refused(some_engine: Path, tmp_path: Path) -> None:
    from tests.runtime.toy import write_toy

    toy = write_toy(tmp_path)
    with DefendedSession(toy, device="cpu") as session:
        shape = session.manifest.input.shape
    if shape[0] in (1, 3) and len(shape) == 3:
        assert build_site(toy, engine=some_engine).files["model.onnx"] == toy.read_bytes()
    else:
        with pytest.raises(InputError, match="grey or RGB images"):
            build_site(toy, engine=some_engine)
