"""Makes the attacks on the photographs, for a later run: no attack is made twice.

python -m benchmarks.imagenet.craft --data DATA --work WORK
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import nn

from benchmarks.imagenet.attacks import cases
from benchmarks.imagenet.networks import MEAN, SIZE, STD, Network, load_network
from benchmarks.imagenet.photographs import load_photographs, parser_of
from nip_evaluate.given.store import AttackStore
from nip_evaluate.given.target import Undefended
from nip_evaluate.stages.craft import Crafter
from nip_export.commands.threads import keep_freed_memory
from nip_export.fit.benign import Benign, at_the_door
from nip_export.network.run import tapped_network
from nip_export.support.progress import Progress, silent

SEED = 0


def crafter_of(work: Path, test: Benign, progress: Progress = silent) -> Crafter:
    """Attacks the held-back photographs, or finds what was made of them."""
    return Crafter(AttackStore(work / "attacks"), test.inputs, test.labels, SEED, progress)


def quick(model: nn.Module) -> nn.Module:
    """The same network with its weights laid out channels last: a gradient takes two thirds of the time."""
    for weights in model.parameters():
        if weights.ndim == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)
    return model


def undefended(model: nn.Module, test: Benign) -> Undefended:
    """A network as T1 attacks it."""
    example = torch.from_numpy(test.inputs[:2].copy())
    return Undefended(tapped_network(model.requires_grad_(False), example, [], mean=MEAN, std=STD).eval())


def main(arguments: list[str] | None = None) -> int:
    parser = parser_of(__doc__, work="folder for finished attacks")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    test = at_the_door(load_photographs(options.data, SIZE).test)
    crafter = crafter_of(options.work, test)
    for network, transfer in ((Network.LITE0, False), (Network.LITE1, True)):
        victim = undefended(quick(load_network(network)), test).eval()
        for case in cases(transfer=transfer):
            began = time.perf_counter()
            (made,) = crafter.craft([case], victim)
            print(f"{network}: {case.name}, {len(made.images)} images, {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
