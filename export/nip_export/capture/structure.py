"""How a recorded forward pass is to be read: classifier, features, trunk, and the kind of each activation."""

from __future__ import annotations

from collections import Counter

from torch import nn

from nip_export.capture.execution import Call, Execution
from nip_export.capture.pooling import TapKind

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
IDENTITIES = (nn.Identity, nn.Flatten, nn.modules.dropout._DropoutNd)
TOKEN_LAYERS = (nn.Linear, nn.LayerNorm, nn.MultiheadAttention)
MAP1D_LAYERS = (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)
MAP2D_LAYERS = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def is_activation(module: nn.Module) -> bool:
    """Whether a module is one of torch's element-wise activations."""
    return type(module).__module__ == nn.ReLU.__module__ and not isinstance(module, nn.MultiheadAttention)


def find_classifier(execution: Execution) -> Call | None:
    """The last linear layer or 1x1 convolution with one output per class, if no trained layer follows it."""
    for call in reversed(execution.calls):
        module = call.module
        if not call.leaf or next(module.parameters(), None) is None:
            continue
        pointwise = isinstance(module, CONVOLUTIONS) and set(module.kernel_size) == {1}
        classes = call.shape[-1:] if isinstance(module, nn.Linear) else call.shape[:1] if pointwise else ()
        return call if classes == (execution.classes,) else None
    return None


def find_features(execution: Execution, classifier: Call) -> Call | None:
    """The layer whose output the classifier reads, through dropout and flattening.

    Where functions stand between (pooling, picking the class token), the last layer before them.
    """
    before = [
        call
        for call in execution.calls[: classifier.first]
        if call.result is not None and not isinstance(call.module, IDENTITIES) and kind_of(execution, call)
    ]
    if not before:
        return None
    direct = any(call.result == classifier.source for call in before)
    wanted = classifier.source if direct else before[-1].result
    same = [call for call in before if call.result == wanted and execution.runs_once(call)]
    # A leaf and the containers it ends return the same tensor; the leaf says best what it is.
    return next((call for call in same if call.leaf), same[0] if same else None)


def kind_of(execution: Execution, call: Call) -> TapKind | None:
    """How to read a call's output; None if no tap can (channels last, other ranks)."""
    rank = len(call.shape)
    if call.result is None or rank not in (1, 2, 3):
        return None
    if rank == 1:
        return TapKind.VECTOR
    deciding = (
        other
        for other in reversed(execution.calls[: call.index + 1])
        if other.leaf and isinstance(other.module, TOKEN_LAYERS + MAP1D_LAYERS + MAP2D_LAYERS)
    )
    layer = next(deciding, None)
    if layer is None:
        return None
    if rank == 3:
        channels_last = isinstance(layer.module, TOKEN_LAYERS) and layer.shape == call.shape
        return None if channels_last else TapKind.MAP2D
    if isinstance(layer.module, MAP2D_LAYERS):
        # A map flattened to (N, C, T) keeps its channels in front; tokens have them behind.
        return TapKind.MAP1D if call.shape[0] == layer.shape[0] else TapKind.TOKENS
    return TapKind.MAP1D if isinstance(layer.module, MAP1D_LAYERS) else TapKind.TOKENS


def find_blocks(execution: Execution, end: int) -> list[Call]:
    """Outermost blocks before call `end`: containers that end in a function, and others of their class.

    Residual blocks, for instance: what their inner layers return is a correction to the trunk, not the trunk.
    A class that occurs once and holds most of the network is the network itself, not a block of it.
    """
    calls = execution.calls[:end]
    leaves = sum(call.leaf for call in calls)
    containers = [
        call
        for call in calls
        if not call.leaf and call.result is not None and type(call.module) is not nn.Sequential
    ]
    occurrences = Counter(type(call.module) for call in containers)

    def ends_in_function(block: Call) -> bool:
        inner = calls[block.first : block.index]
        return not any(c.leaf and c.result == block.result and execution.runs_once(c) for c in inner)

    functional = {type(call.module) for call in containers if ends_in_function(call)}
    blocks = []
    for call in containers:
        share = sum(c.leaf for c in calls[call.first : call.index]) / leaves
        if type(call.module) in functional and (occurrences[type(call.module)] > 1 or share < 0.5):
            blocks.append(call)
    return [b for b in blocks if not any(o.first <= b.index < o.index for o in blocks)]


def followed_by_batch_norm(execution: Execution, call: Call) -> bool:
    """Whether a layer feeds a BatchNorm, which can be folded into it only if nobody looks between."""
    return isinstance(call.module, (*CONVOLUTIONS, nn.Linear)) and any(
        other.source == call.result and isinstance(other.module, nn.modules.batchnorm._BatchNorm)
        for other in execution.calls[call.index + 1 :]
    )


def trunk(execution: Execution, end: int) -> list[Call]:
    """The tappable steps of the network before call `end`, in order: blocks, and layers outside of blocks.

    A layer is represented by the activation after it, else by its normalisation, else by itself.
    """
    blocks = find_blocks(execution, end)
    steps: list[Call] = []
    for call in execution.calls[:end]:
        if call in blocks:
            steps.append(call)
        elif isinstance(call.module, (*CONVOLUTIONS, nn.Linear)) and call.leaf:
            if any(block.first <= call.index < block.index for block in blocks):
                continue
            members = [
                member
                for member in chain(execution, call, end)
                if execution.runs_once(member) and not followed_by_batch_norm(execution, member)
            ]
            steps += members[-1:]
    usable = [step for step in steps if kind_of(execution, step) is not None and execution.runs_once(step)]
    return list({step.result: step for step in usable}.values())


def chain(execution: Execution, layer: Call, end: int) -> list[Call]:
    """A layer, the normalisation that reads its output, and the activation after that, where they exist."""
    members = [layer]
    for call in execution.calls[layer.index + 1 : end]:
        if not call.leaf or call.source != members[-1].result:
            continue
        if is_activation(call.module):
            return [*members, call]
        if not isinstance(call.module, NORMS):
            break
        members.append(call)
    return members
