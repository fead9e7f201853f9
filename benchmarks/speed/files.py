"""Defended files of networks that nobody trained: what is timed is the surgery, not what the network knows.

The exporter rightly refuses a network that classifies no better than by guessing. Here its stages are called
one by one with the network's own answers as labels, seeded read-outs, class centres and perturbations in the
place of fitted ones, a view that is set, and everything else as in a real export: taps, pooling, gate,
quantised bank, the graph, comparison with oracle and twin, manifest. The trained networks of the embedded
example take the real export.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from benchmarks.speed.networks import Images, Name, Network, images_of, make
from benchmarks.speed.sessions import open_plain
from nip_export.calibrate import Known
from nip_export.calibrate.typicality import MOST_DIRECTIONS
from nip_export.config import ExportConfig
from nip_export.data import ImageSet
from nip_export.defence.spec import Bank, DefenceSpec, ReadOut, Typicality
from nip_export.defence.views import View
from nip_export.demo.example import load_example
from nip_export.fit.bench import Bench, tried
from nip_export.fit.benign import Benign, at_the_door
from nip_export.fit.layers import grids_of
from nip_export.fit.perturbations import quantise
from nip_export.fit.perturbations.bank import coarse_shape
from nip_export.fit.profiles import InfluenceProfile, as_stored
from nip_export.network import find_taps
from nip_export.network.run import Passed, TapCells, run_network, tapped_network
from nip_export.network.tapped import TappedNetwork
from nip_export.pipeline import Prepared, prepare_defence, second_pass, write_defended
from nip_export.support.progress import silent
from nip_export.verify.oracle import Expected, oracle
from nip_export.write.report import ExportReport
from nip_runtime.file.manifest import Policy, ViewStep
from nip_runtime.operate.bench.shares import Mixture
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.engine.parts import screen_statistic

POLICIES: Final = (Policy.GUARDED, Policy.ALWAYS)
IMAGES: Final = 56
"""Seeded images that thresholds come from: a few more than the exporter's least."""
BUDGET: Final = 0.05
"""The smallest benign budget that so few images can show to be kept, rounded up."""
BATCH: Final = 8
ASCENT_STEPS: Final = 6
"""Of the example's exports: a perturbation's values do not change what adding it costs."""
MARGIN: Final = 0.01
"""Rows whose free score lies this close to the screen are in no batch: rounding might push them over."""
VIEW: Final[View] = (ViewStep.SHIFT, ViewStep.MEDIAN)
"""Of the seeded defences of policy guarded, with ρ: what a network on natural images has chosen, and the
dearest form of it. There are no mistakes to choose by where the network's own answers are the labels."""


@dataclass(frozen=True, eq=False)
class SpeedFiles:
    """One network's files and what its contenders are built of.

    Attributes:
        network: which.
        plain: the backbone alone, exported the same way.
        reports: the export behind each policy's file.
        pool: images of which it is known whether they take the second pass of the guarded file.
    """

    network: Network
    plain: Path
    reports: dict[Policy, ExportReport]
    pool: Mixture

    def path(self, policy: Policy) -> Path:
        """A policy's defended file."""
        return self.reports[policy].path

    def spec(self, policy: Policy) -> DefenceSpec:
        """What a policy's file computes."""
        return self.reports[policy].spec

    @property
    def screen_rate(self) -> float:
        """Share of the guarded file's benign calibration images that took its second pass, in [0, 1]."""
        return self.reports[Policy.GUARDED].manifest.calibration.pass2_rate.value

    @property
    def tapped(self) -> TappedNetwork:
        """The backbone in torch with its normalisation and taps."""
        return self.reports[Policy.GUARDED].network


def make_files(network: Network, folder: Path) -> SpeedFiles:
    """Export a network plainly, guarded and always into an existing folder; takes seconds to a minute."""
    plain = folder / f"{network.name}.plain.onnx"
    trained = network.name in (Name.FASHION_VGG, Name.FASHION_RESNET)
    prepared = (example_defence if trained else seeded_defence)(network)
    reports = {}
    for policy in POLICIES:
        path = folder / f"{network.name}.{policy}.onnx"
        reports[policy] = write_defended(next(prepared), path, plain_path=plain)
    images = example_images() if trained else images_of(network, IMAGES, seed=0)
    guarded = reports[Policy.GUARDED]
    return SpeedFiles(network, plain, reports, pool_of(guarded.path, guarded.spec, images))


def example_defence(network: Network) -> Iterator[Prepared]:
    """The real exports of one of the embedded example's two trained networks, policy by policy."""
    example = load_example()
    for policy in POLICIES:
        yield prepare_defence(
            example.model if network.name is Name.FASHION_VGG else example.surrogate,
            example.profile.images,
            example.profile.labels,
            calibration=(example.calibration.images, example.calibration.labels),
            config=ExportConfig(
                policy=policy, mean=network.mean, std=network.std, ascent_steps=ASCENT_STEPS, batch_size=64
            ),
        )


def example_images() -> Images:
    """The example's test images as float32 (N, 1, 28, 28)."""
    return at_the_door(load_example().test).inputs


def seeded_defence(network: Network, images: Images | None = None) -> Iterator[Prepared]:
    """Defences of the shapes that real exports have, around one network with seeded weights; `images` give
    the thresholds, by default :data:`IMAGES` seeded ones."""
    config = ExportConfig(
        mean=network.mean, std=network.std, benign_budget=BUDGET, batch_size=BATCH, force=True
    )
    model = make(network)
    bench = seeded_bench(model, images_of(network, IMAGES, seed=0) if images is None else images, config)
    random = np.random.default_rng(1)
    # At 1000 classes no early layer's linear read-out is expected to come near the network's accuracy; the
    # export then takes the most accurate one, which is the deepest.
    known = seeded_known(bench, bench.early_grids[-1], random)
    for policy in POLICIES:
        policed = replace(bench, config=replace(config, policy=policy))
        yield seeded_prepared(model, policed, known, () if policy is Policy.ALWAYS else VIEW, random)


def seeded_known(bench: Bench, early: TapCells, random: np.random.Generator) -> Known:
    """What pass 1 is read by, drawn: one early read-out and typicality; every class has images."""
    return Known(
        readouts=(seeded_readout(early, bench, random),),
        typicality=seeded_typicality(bench, random),
        present=np.ones(bench.classes, np.bool_),
    )


def seeded_prepared(
    model: nn.Module, bench: Bench, known: Known, view: View, random: np.random.Generator
) -> Prepared:
    """All but the thresholds, with a drawn perturbation and profile."""
    bank = seeded_bank(bench, random)
    return Prepared(
        model=model,
        bench=bench,
        known=known,
        layers=(),
        profiles={bench.plan.features: seeded_profile(bench, random)},
        view=view,
        trials=(),
        rho=bank,
        bank=bank,
        second=second_pass(bench, known, view, bank),
        seconds=0.0,
    )


def seeded_bench(model: nn.Module, images: Images, config: ExportConfig) -> Bench:
    """The network on the bench, its own answers as labels: for it, every one of its answers is right."""
    example = torch.from_numpy(images[:2].copy())
    device = torch.device("cpu")
    probe = tapped_network(model, example, [], mean=config.mean, std=config.std)
    plan = find_taps(model, probe.normalise(example))
    tapped = tapped_network(model, example, plan.names, mean=config.mean, std=config.std)
    grids = grids_of(plan, config.cells)
    passed = run_network(tapped, images, grids, batch_size=config.batch_size, device=device)
    labels = passed.logits.argmax(1).astype(np.int64)
    benign = Benign(ImageSet(images, labels, None, config.bounds), images, labels)
    return Bench(
        network=tapped,
        plan=plan,
        grids=grids,
        example=example,
        profile=benign,
        profile_pass=passed,
        calibration=benign,
        calibration_pass=passed,
        config=config,
        progress=silent,
        device=device,
        trial=tried(model, tapped, example, config),
    )


def seeded_readout(grid: TapCells, bench: Bench, random: np.random.Generator) -> ReadOut:
    """A read-out whose scores differ from image to image by about one."""
    pooled = bench.calibration_pass.pooled[grid.tap.name]
    spread = pooled.std(0) + 1e-6 * (1 + np.abs(pooled).max())
    weight = random.standard_normal((pooled.shape[1], bench.classes)) / spread[:, None]
    weight /= ((pooled - pooled.mean(0)) @ weight).std()
    readout = ReadOut(
        tap=grid.tap.name,
        kind=grid.tap.kind,
        cells=grid.cells,
        weight=weight.astype(np.float32),
        bias=(-pooled.mean(0) @ weight).astype(np.float32),
    )
    return as_stored(readout, pooled.mean(0))


def seeded_typicality(bench: Bench, random: np.random.Generator) -> Typicality:
    """A centre per class in as many directions as an export keeps, all drawn by lot."""
    tap = bench.plan.tap(bench.plan.features)
    features = bench.calibration_pass.pooled[tap.name]
    spread = features.std(0) + 1e-6 * (1 + np.abs(features).max())
    weight = random.standard_normal((features.shape[1], min(MOST_DIRECTIONS, features.shape[1])))
    weight /= spread[:, None] * np.sqrt(features.shape[1])
    return Typicality(
        tap=tap.name,
        kind=tap.kind,
        weight=weight.astype(np.float32),
        bias=(-features.mean(0) @ weight).astype(np.float32),
        centres=random.standard_normal((bench.classes, weight.shape[1])).astype(np.float32),
    )


def seeded_bank(bench: Bench, random: np.random.Generator) -> Bank:
    """Perturbations on the export's grid, quantised as the export does: per class for ``always``."""
    rows = bench.classes if bench.config.policy is Policy.ALWAYS else 1
    eps = bench.config.eps
    coarse = random.uniform(-eps, eps, (rows, *coarse_shape(bench.shape)))
    return quantise(coarse, eps=eps, shape=bench.shape)


def seeded_profile(bench: Bench, random: np.random.Generator) -> InfluenceProfile:
    """Front and tail neurons drawn by lot."""
    width = bench.plan.tap(bench.plan.features).width(cells=1)
    influence = random.standard_normal((bench.classes, width)).astype(np.float32)
    counts = np.full(bench.classes, 1, np.int64)
    return InfluenceProfile(bench.plan.features, influence, counts, bench.config.top_k)


def expected(files: SpeedFiles, policy: Policy, images: Images) -> Expected:
    """What a policy's file must answer, by the oracle in numpy around the backbone in torch."""
    report, spec = files.reports[policy], files.spec(policy)
    grids = [TapCells(report.plan.tap(readout.tap), readout.cells) for readout in spec.readouts]
    grids.append(TapCells(report.plan.tap(spec.typicality.tap), 1))

    def forward(inputs: Images) -> Passed:
        return run_network(report.network, inputs, grids, batch_size=BATCH, device=torch.device("cpu"))

    return oracle(spec, forward, images)


def pool_of(path: Path, spec: DefenceSpec, images: Images) -> Mixture:
    """Sort images by whether the guarded file at `path` gives them a second pass.

    Raises:
        ValueError: all images fall on one side.
    """
    content = Sliceable(path.read_bytes())
    part = open_plain(content.part(["input"], [screen_statistic(content)]), threads=None)
    found = [part.run(None, {"input": images[at : at + BATCH]})[0] for at in range(0, len(images), BATCH)]
    threshold = np.float32(spec.gate.screen_threshold or 0.0)
    above = np.concatenate(found).reshape(-1) - threshold
    calm, screened = images[above < -MARGIN], images[above > MARGIN]
    if not (len(calm) and len(screened)):
        raise ValueError(
            f"expected images on both sides of the screen, got {len(calm)} below and {len(screened)} above it"
        )
    return Mixture(calm, screened, threshold)
