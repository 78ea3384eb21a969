"""A W8A8 embedding model whose groups of quantizers are switched off and on from one pass to the next; runs in a child
process. See openvino_switch.py for the graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quantcurve.engines.base import Floats, OpenVinoConfig, Tokens
from quantcurve.engines.encoder_child import CompiledEncoder
from quantcurve.engines.encoder_runner import feed
from quantcurve.engines.openvino_switch import SWITCH, Switch, float_properties, switchable_graph
from quantcurve.engines.quantizer_groups import Group


class SwitchedEncoder:
    """A quantised model with groups that can be restored; an encoder_runner.EncoderRunner."""

    def __init__(
        self,
        quantised: Path,
        source: Path,
        groups: Sequence[Group],
        switchable: Sequence[int],
        config: OpenVinoConfig,
        restored: Sequence[int] = (),
    ) -> None:
        """Compile it, in float32 unless the configuration says otherwise; see openvino_switch.SwitchedRunner."""
        self.path = quantised
        graph = switchable_graph(quantised, source, groups, switchable, restored)
        self._compiled = CompiledEncoder(quantised, config, graph, float_properties(config))
        self._inputs = self._compiled.inputs - {SWITCH}
        self._switch = Switch(quantised, switchable, restored)

    def restore(self, numbers: Sequence[int]) -> None:
        """Run just these groups in float; see Switch.restore."""
        self._switch.restore(numbers)

    def hidden(self, tokens: Tokens) -> Floats:
        """See encoder_runner.EncoderRunner."""
        return self._compiled.hidden_of(feed(self.path, self._inputs, tokens) | self._switch.given)
