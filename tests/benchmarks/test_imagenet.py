"""The ImageNet benchmark: which photographs go where, what attacks there are, and what the tables say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.imagenet import table
from benchmarks.imagenet.attacks import cases, targeted_pgd
from benchmarks.imagenet.photographs import EXPORTED, FILE, PROFILE, load_photographs
from benchmarks.imagenet.run import RESULTS
from benchmarks.imagenet.thousand import MIRRORED, write_folders
from nip_evaluate.terms.threats import Threat


@pytest.mark.skipif(not RESULTS.is_file(), reason="the ImageNet benchmark was not run yet")
def test_the_committed_tables_are_those_of_the_committed_results() -> None:
    assert table.main(["--check"]) == 0


def test_photographs_are_cut_from_the_centre_and_no_one_is_in_two_parts(tmp_path: Path) -> None:
    count = EXPORTED + 3
    streams = []
    for number in range(count):
        image = np.full((10, 12, 3), 255, np.uint8)
        image[1:9, 2:10] = (number % 16 * 16, number // 16 * 8, 0)
        _, stream = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])
        streams.append(stream)
    offsets = np.cumsum([0, *map(len, streams)])
    np.savez(
        tmp_path / FILE,
        jpeg=np.concatenate(streams),
        offsets=offsets,
        labels=np.arange(count),
        classes=np.array([f"class {number}" for number in range(1000)]),
    )
    files, names = write_folders(tmp_path, tmp_path / "thousand")
    written = sorted((tmp_path / "thousand" / "photographs").rglob("*.jpg"))
    assert files == len(written) == count + MIRRORED
    assert len(names.read_text(encoding="utf-8").splitlines()) == 1000
    as_it_is, mirrored = (cv2.imread(str(path)) for path in written[:2])
    assert as_it_is is not None and mirrored is not None
    assert written[0].name == "as-it-is.jpg" and np.abs(as_it_is[:, ::-1].astype(int) - mirrored).mean() < 6
    found = load_photographs(tmp_path, 8)
    assert found.profile.images.shape == (PROFILE, 8, 8, 3)
    parts = [part.labels.tolist() for part in (found.profile, found.calibration, found.test)]
    assert [label for part in parts for label in part] == list(range(count)) and len(parts[2]) == 3
    assert found.test.class_names is not None and len(found.test.class_names) == 1000
    corner = found.profile.images[17, 0, 0]
    assert np.abs(corner.astype(int) - (0, 8, 16)).max() < 40, "white edges are cut away, colours are RGB"


def test_every_attack_is_named_once_and_transfers_are_told_apart() -> None:
    gray, transfer = cases(), cases(transfer=True)
    assert len({case.name for case in (*gray, *transfer)}) == len(gray) + len(transfer)
    assert {case.threat for case in gray} == {Threat.GRAY_BOX} and all(case.core for case in gray)
    assert {case.threat for case in transfer} == {Threat.TRANSFER} and not any(c.core for c in transfer)


def test_targeted_pgd_raises_a_class_that_is_not_the_true_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 1000)).eval().requires_grad_(False)
    clean = torch.rand(6, 3, 4, 4)
    truth = model(clean).argmax(1)
    attacked = targeted_pgd(0.8)(model, clean, truth, 3, lambda done: None)
    assert (model(attacked).argmax(1) != truth).all()
    assert 0.5 < float((attacked - clean).abs().max()) <= 0.8
