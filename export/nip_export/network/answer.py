"""The user's model as the classifier that an export works on: float32 in, logits (N, C) out, or a refusal."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from torch import Tensor, nn

from nip_export.network.adapted import Adapted, Answer, EndingWatch
from nip_export.network.dataflow import value_of, without_reshapes
from nip_export.network.execution import answer as returned_by
from nip_export.network.hooks import evaluation_mode
from nip_export.network.rebuilt import OnnxNetwork
from nip_runtime.errors import ExportError

LOGITS = "logits"
"""Among several outputs, one of this name is taken for what it says."""
PROBABILITIES = re.compile("Sigmoid|Softmax")
NARROWED = (torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A model that returns logits, and what had to be done to it.

    Attributes:
        model: from (N, …) float32 to logits (N, C) float32; the user's own where nothing had to be done.
        notes: what was done, one sentence each, for the one who exports.
    """

    model: nn.Module
    notes: tuple[str, ...]


def as_classifier(model: nn.Module, example: Tensor, *, output: str | int | None = None) -> Classifier:
    """Find the logits in what a model returns; the model itself stays as it is.

    Weights of other precisions are copied to float32. Of several outputs one is selected. Logits are taken
    before a last softmax or sigmoid; one logit z becomes the two (−z, z).

    Args:
        model: any module from one float tensor (N, …) to logits, alone or among other outputs.
        example: float32 (N, …), as the bare model takes it.
        output: name or index of the output that holds the logits, if there are several.

    Raises:
        ExportError: a scripted or quantised model, one that fails on the example, several outputs of which
            none is named, or an output that holds no logits.
    """
    model = python_module(model)
    notes = list(model.notes) if isinstance(model, OnnxNetwork) else []
    wide = {p.dtype for p in (*model.parameters(), *model.buffers()) if p.dtype in NARROWED}
    if wide:
        model = copied(model, "is not in float32", "model.float()").float()
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in wide))
        notes.append(f"the model's {names} weights are exported as float32")
    if any(is_fake_quantiser(module) for module in model.modules()):
        model = without_fake_quantisation(model)
        notes.append(
            "the model's fake quantisation, from training for int8, is left out: the file computes in "
            "float32 what it stands for; precision int8 quantises it anew"
        )
    with evaluation_mode(model), torch.enable_grad(), EndingWatch() as watch:
        found = returned_by(model, example.detach().clone().requires_grad_() * 1)
    path, tensor = select(found, output)
    if path:
        notes.append(f"the logits are the model's output {'.'.join(map(str, path))}")
    how = Answer(path=path)
    before = watch.before(tensor)
    if before is not None and before[1] in ("softmax", "sigmoid"):
        how = replace(how, ending=before[1])
        notes.append(f"the model ends in {before[1]}: the file answers with the logits before it")
        tensor = before[0]
    elif before is not None:
        notes.append(f"the model ends in {before[1]}: its values are taken as logits, as they are")
    how = to_rows(how, tensor, len(example), notes)
    if before is None:
        refuse_probabilities(tensor.reshape(len(tensor), -1))
    if tensor.dtype != torch.float32:
        notes.append(f"the model's {str(tensor.dtype).removeprefix('torch.')} logits are narrowed to float32")
    same = how == Answer() and tensor.dtype == torch.float32
    return Classifier(model if same else Adapted(model, how), tuple(notes))


def python_module(model: nn.Module) -> nn.Module:
    """The module that Python can look into.

    Raises:
        ExportError: there is none: scripted, traced or quantised.
    """
    original = getattr(model, "_orig_mod", None)
    if isinstance(original, nn.Module) and type(model).__name__ == "OptimizedModule":
        model = original
    for name, module in model.named_modules():
        what = f"its layer {name!r} is" if name else "it is"
        if isinstance(module, torch.jit.ScriptModule):
            raise ExportError(
                f"the model cannot be looked into: {what} scripted or traced; pass the Python module it was "
                "made from"
            )
        if ".quantized" in type(module).__module__ and not hasattr(module, "weight_fake_quant"):
            raise ExportError(
                f"the model is quantised: {what} a {type(module).__module__}.{type(module).__name__}; pass "
                "the float model, and precision int8 if the file is to be quantised"
            )
    return model


def copied(model: nn.Module, why: str, instead: str) -> nn.Module:
    """A copy of the model.

    Raises:
        ExportError: it cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ExportError(f"the model {why} and cannot be copied ({reason}); pass {instead}") from error


def is_fake_quantiser(module: nn.Module) -> bool:
    """Whether a module rounds weights or activations as int8 would, as training for int8 puts it in."""
    return "FakeQuantize" in type(module).__name__ and hasattr(module, "fake_quant_enabled")


def without_fake_quantisation(model: nn.Module) -> nn.Module:
    """A copy that rounds nothing: rounding makes whole steps of the last digit, in which engines differ."""
    model = copied(model, "carries fake quantisation", "it without")
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if is_fake_quantiser(child):
                setattr(module, name, nn.Identity())
    return model


def outputs(
    returned: object, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Tensor]]:
    """All tensors in what a model returned, with the way to each."""
    if isinstance(returned, Tensor):
        yield path, returned
    elif isinstance(returned, Mapping):
        for key, value in returned.items():
            yield from outputs(value, (*path, key))
    elif is_dataclass(returned) and not isinstance(returned, type):
        for field in fields(returned):
            yield from outputs(getattr(returned, field.name), (*path, field.name))
    elif isinstance(returned, tuple | list):
        names = getattr(returned, "_fields", range(len(returned)))
        for key, value in zip(names, returned, strict=True):
            yield from outputs(value, (*path, key))


def select(returned: object, output: str | int | None) -> tuple[tuple[str | int, ...], Tensor]:
    """The way to the logits, and these.

    Raises:
        ExportError: there is no tensor, none of the name, or several of which none is named.
    """
    found = list(outputs(returned))
    if not found:
        raise ExportError(
            f"expected the model to return logits (N, C), got {type(returned).__name__} without a tensor; "
            "wrap it to return them alone"
        )
    shown = ", ".join(
        f"{'.'.join(map(str, path))} ({', '.join(('N', *map(str, tensor.shape[1:])))})"
        for path, tensor in found
    )
    if output is not None:
        number = int(output) if str(output).isdecimal() else None
        for index, (path, tensor) in enumerate(found):
            if ".".join(map(str, path)) == str(output) or index == number:
                return path, tensor
        raise ExportError(f"the model has no output {output!r}; it returns {shown or 'one tensor'}")
    if len(found) == 1:
        return found[0]
    named = [pair for pair in found if pair[0][-1] == LOGITS]
    if len(named) == 1:
        return named[0]
    raise ExportError(
        f"the model returns {len(found)} tensors, {shown}; expected one: say which holds the logits by its "
        "name or number in output"
    )


def to_rows(how: Answer, tensor: Tensor, rows: int, notes: list[str]) -> Answer:
    """How the shape of an output becomes (N, C); what is done is noted.

    Raises:
        ExportError: it cannot.
    """
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point():
        raise ExportError(
            f"expected the model to return logits (N, C), got {tensor.dtype} of shape {shape}; return the "
            "scores of all classes instead of class numbers"
        )
    if not shape or shape[0] != rows or (len(shape) > 2 and max(shape[2:]) > 1):
        got = f"{shape} for {rows} images"
        raise ExportError(
            f"expected the model to return logits (N, C), got {got}; wrap it to return them alone"
        )
    if len(shape) == 1 or shape[1] == 1:
        notes.append("the model has one logit z: the file answers for two classes, with (−z, z)")
        return replace(how, binary=True)
    if len(shape) > 2:
        notes.append("axes of length 1 behind the logits are dropped")
        return replace(how, flatten=True)
    return how


def refuse_probabilities(logits: Tensor) -> None:
    """Refuse an output that is probabilities, made in a way that logits cannot be taken before it."""
    sums = logits.detach().double().sum(1)
    value = value_of(logits)
    squashed = value is not None and PROBABILITIES.match(without_reshapes(value)[0].name())
    if squashed or (bool((logits >= 0).all()) and bool(((sums - 1).abs() < 1e-4).all())):
        raise ExportError(
            "the model returns probabilities, expected logits; return what enters the last softmax or sigmoid"
        )
