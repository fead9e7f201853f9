"""The network's passes over images, each made once: variants differ in what they make of the same passes."""

from __future__ import annotations

from nip_evaluate.baselines.memory import Memory
from nip_evaluate.terms.answers import GateView
from nip_evaluate.terms.threats import Images
from nip_export.defence.decision import FirstLook, decide, free_score, judge
from nip_export.defence.spec import DefenceSpec
from nip_export.fit.bench import Bench
from nip_export.network.run import Passed
from nip_export.verify.oracle import look_again


class Passes:
    """Passes over attacked and benign images by one network, remembered by image content.

    Args:
        bench: the network.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._memory = Memory()

    def first(self, images: Images) -> Passed:
        """Pass 1 over images (N, *shape) float32."""
        return self._memory.recall("first", images, lambda: self._bench.run(images))

    def second(self, spec: DefenceSpec, images: Images) -> Passed:
        """The second pass of a ``guarded`` or ``detect`` defence over the same images."""
        again = look_again(images, spec.view, spec.bank, spec.bounds)
        return self._memory.recall("second", again, lambda: self._bench.run(again))

    def view(self, spec: DefenceSpec, images: Images) -> GateView:
        """What a defence of this network answers to images (N, *shape) at every threshold."""
        first = self.first(images)
        look = FirstLook.of(first, spec.readouts, spec.typicality)
        second = self.second(spec, images).logits
        reading = judge(spec.gate, free_score(spec.gate, look), look.grain, look.raw, second)
        decision = decide(spec.policy, spec.gate, reading, look.early, look.raw, second)
        return GateView(reading.score, reading.screened, look.predicted, decision.candidate)
