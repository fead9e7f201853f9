"""Makes what travels of a network: exports it in every precision and asks the CPU for its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.gpu.material import (
    ANSWERS,
    FP32,
    IMAGES_FOLDER,
    NETWORKS_FOLDER,
    Floats,
    Material,
    answers_of,
    as_inputs,
    place,
    write,
)
from benchmarks.gpu.parts import Absent
from benchmarks.robustness.networks import FACTORIES, Kind
from benchmarks.speed.files import ASCENT_STEPS, IMAGES, pool_of, seeded_defence
from benchmarks.speed.networks import NETWORKS, Name, Network, images_of, make
from nip_export.config import ExportConfig
from nip_export.demo.example import load_example
from nip_export.fit.conversion import convert
from nip_export.pipeline import Prepared, in_precision, prepare_defence, second_pass, write_defended
from nip_export.write.report import ExportReport
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Precision
from nip_runtime.session import DefendedSession

LARGE: Final = (Name.RESNET50, Name.MOBILENETV2, Name.VIT_TINY)
TRAINED: Final = {Name.FASHION_VGG: Kind.VGG, Name.FASHION_RESNET: Kind.RESNET, Name.FASHION_VIT: Kind.VIT}
LOOKED_AT: Final = 2 * IMAGES
"""Seeded images of which those are taken whose answer is clearest: nobody trained these networks, and where
two classes are all but equal, fp16 takes the other one and the export rightly refuses it."""
COMPARED: Final = {True: 24, False: 200}
"""Images whose answers are compared, of large networks and of small ones."""
Pixels = NDArray[np.uint8]


def weights_of(name: Name, work: Path | None) -> Path | None:
    """Trained weights of a small network in a folder of ``benchmarks.robustness.train``, if there are any."""
    path = None if work is None else work / f"{TRAINED[name]}-1.safetensors"
    return path if path is not None and path.exists() else None


def available(work: Path | None) -> tuple[Name, ...]:
    """The networks that can be made: three large ones, and the small ones that somebody trained."""
    embedded = (Name.FASHION_VGG, Name.FASHION_RESNET)
    return LARGE + tuple(name for name in TRAINED if name in embedded or weights_of(name, work) is not None)


def build(
    name: Name,
    out: Path,
    *,
    work: Path | None,
    precisions: tuple[Precision, ...],
    say: Callable[[str], None],
) -> tuple[Absent, ...]:
    """Write one network below `out`; gives the precisions that the exporter refused, and why."""
    network = NETWORKS[name]
    folder = out / NETWORKS_FOLDER / name
    folder.mkdir(parents=True)
    if network.large:
        model, weights = make(network), "seeded, untrained"
        pixels: Pixels = (images_of(network, LOOKED_AT, seed=0) * 255).round().astype(np.uint8)
        chosen = clearest(model, network, as_inputs(pixels))
        prepared = next(seeded_defence(network, as_inputs(pixels)[chosen]))
    else:
        model, weights = trained(name, work)
        pixels = load_example().test.images.astype(np.uint8).reshape(-1, *network.shape)
        chosen = np.arange(len(pixels))
        prepared = fashion_defence(model, network)
    images = f"{'x'.join(map(str, network.shape))}.npy"
    (out / IMAGES_FOLDER).mkdir(exist_ok=True)
    np.save(out / IMAGES_FOLDER / images, pixels)
    made, refused = list[str](), list[Absent]()
    for precision in precisions:
        try:
            write_file(
                prepared,
                precision,
                folder,
                as_inputs(pixels),
                chosen,
                compared=COMPARED[network.large],
                seeded=network.large,
            )
        except (ExportError, ValueError) as error:
            (folder / f"{precision}.onnx").unlink(missing_ok=True)
            refused.append(Absent(f"{network.title}, {precision}", str(error)))
            say(f"{network.title}, {precision}: left out: {error}")
        else:
            made.append(precision)
            size = (folder / f"{precision}.onnx").stat().st_size
            say(f"{network.title}, {precision}: {size / 1e6:.1f} MB")
    state = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    write(
        Material(
            folder=folder,
            name=name,
            title=network.title,
            weights=weights,
            images=images,
            precisions=tuple(made),
            tensors=place(state, folder),
        )
    )
    return tuple(refused)


def clearest(model: nn.Module, network: Network, inputs: Floats) -> NDArray[np.int64]:
    """Positions of the images whose largest logit is furthest above the second."""
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (network.mean, network.std))
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(inputs), 8)
        logits = torch.cat([model((part - mean) / std) for part in parts])
    best = logits.topk(2, 1).values
    order = (best[:, 1] - best[:, 0]).argsort(stable=True).numpy()
    chosen: NDArray[np.int64] = np.sort(order[:IMAGES])
    return chosen


def trained(name: Name, work: Path | None) -> tuple[nn.Module, str]:
    """A small network with somebody's weights, and whose they are."""
    path = weights_of(name, work)
    if path is None:
        example = load_example()
        model: nn.Module = example.model if name is Name.FASHION_VGG else example.surrogate
        return model.eval().requires_grad_(False), "the embedded example's"
    model = FACTORIES[TRAINED[name]]()
    model.load_state_dict(safetensors.torch.load_file(path))
    return model.eval().requires_grad_(False), path.stem


def fashion_defence(model: nn.Module, network: Network) -> Prepared:
    """The real export of a network that was trained on Fashion-MNIST; the images are the example's."""
    example = load_example()
    return prepare_defence(
        model,
        example.profile.images,
        example.profile.labels,
        calibration=(example.calibration.images, example.calibration.labels),
        config=ExportConfig(mean=network.mean, std=network.std, ascent_steps=ASCENT_STEPS, batch_size=64),
    )


def write_file(
    prepared: Prepared,
    precision: Precision,
    folder: Path,
    inputs: Floats,
    chosen: NDArray[np.int64],
    *,
    compared: int,
    seeded: bool,
) -> None:
    """Export in one precision; note the pool of inputs by pass, and what the CPU answers.

    Raises:
        ExportError: the exporter refuses.
        ValueError: no image, or every one, takes the second pass.
    """
    report = export(prepared, precision, folder / f"{precision}.onnx", seeded=seeded)
    pool = pool_of(report.path, report.spec, inputs[chosen])
    place_of = {inputs[row].tobytes(): int(row) for row in chosen}
    calm, screened = (
        np.array([place_of[image.tobytes()] for image in side]) for side in (pool.calm, pool.screened)
    )
    # Half and half as far as they go, so that both passes are compared.
    rows = np.concatenate([calm[: compared // 2], screened[: compared - compared // 2]])
    with DefendedSession(report.path, device="cpu") as session:
        answers = answers_of(session, inputs[rows])
    with (folder / f"{precision}.npz").open("wb") as file:
        np.savez(
            file,
            rows=rows,
            calm=calm,
            screened=screened,
            threshold=np.asarray(pool.threshold),
            allow_pickle=False,
            **{name: getattr(answers, name) for name in ANSWERS},
        )


def export(prepared: Prepared, precision: Precision, path: Path, *, seeded: bool) -> ExportReport:
    """Write the file. Of an untrained network, read-outs that are fitted anew to what the converted one says
    may be of no use, and so may those that were drawn by lot: the exporter takes one or the other.

    Raises:
        ExportError: the exporter refuses.
    """
    if precision == FP32:
        return write_defended(prepared, path)
    try:
        return write_defended(in_precision(prepared, precision), path)
    except ExportError:
        if not seeded:
            raise
        return write_defended(seeded_in(prepared, precision), path)


def seeded_in(prepared: Prepared, precision: Precision) -> Prepared:
    """A seeded defence in another precision with the read-outs that it has.

    Raises:
        ExportError: the conversion changes too many answers.
    """
    bench = replace(prepared.bench, config=replace(prepared.bench.config, precision=precision))
    bench, conversion = convert(bench, prepared.rho)
    second = second_pass(bench, prepared.known, prepared.view, prepared.bank)
    return replace(prepared, bench=bench, conversion=conversion, second=second)
