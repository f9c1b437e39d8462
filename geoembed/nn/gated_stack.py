"""A stack of gated convolutions whose edges share one embedding: layer by layer, or by kernels as a whole."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from geoembed.nn.gated_conv import CrystalGraphConv
from geoembed.ops import ReadyLayer, gated_layers, gated_serves, plan_edges, ready_layer, tiles_fit


class CrystalGraphStack(nn.ModuleList):
    """Layers of :class:`CrystalGraphConv` on x [N, H] and raw edge features [E, G] that ``embed`` would map to H.

    Without gradients on a GPU all layers are one call; the weights that it reads are made when they changed last.
    """

    def __init__(self, hidden_dim: int, layers: int) -> None:
        super().__init__(CrystalGraphConv(hidden_dim, hidden_dim) for _ in range(layers))
        self._ready: tuple[Any, list[ReadyLayer]] | None = None

    def forward(self, x: Tensor, edge_index: Tensor, features: Tensor, ptr: Tensor, embed: nn.Linear) -> tuple[Tensor, Tensor]:
        """(x, u) [N, H] each: the result is x + outer(u) of the last layer, and a mean of it is the same of the means."""
        convs = cast(list[CrystalGraphConv], list(self))
        fused = gated_serves(x, features.shape[1])
        plan = plan_edges(edge_index, ptr, gradients=torch.is_grad_enabled(), unsafe=True) if fused else None
        if plan is not None and not torch.is_grad_enabled():
            return gated_layers(x, features, self._weights(embed, x, features.shape[1]), plan)
        for conv in convs[:-1]:
            x = conv(x, edge_index, features, ptr, embed=embed, plan=plan)
        return x, convs[-1].hidden(x, edge_index, features, ptr, embed=embed, plan=plan)

    def outer(self, x: Tensor, u: Tensor, one: Tensor) -> Tensor:
        """The rest of the last layer on means x, u [B, H] over nodes; ``one`` [B, 1]: the same mean of ones."""
        last = cast(nn.Linear, cast(CrystalGraphConv, self[-1]).node_mlp[2])
        return x + linear(u, last.weight) + last.bias * one

    def _weights(self, embed: nn.Linear, x: Tensor, features: int) -> list[ReadyLayer]:
        """Prepared weights, kept until a parameter changes; made anew where that cannot be seen."""
        parameters = [*self.parameters(), *embed.parameters()]
        if torch.compiler.is_compiling() or any(p.is_inference() for p in parameters):
            return self._prepared(embed, x, features)
        state = (x.dtype, x.device, tuple((p.data_ptr(), p._version) for p in parameters))
        if self._ready is None or self._ready[0] != state:
            self._ready = (state, self._prepared(embed, x, features))
        return self._ready[1]

    def _prepared(self, embed: nn.Linear, x: Tensor, features: int) -> list[ReadyLayer]:
        tiles = tiles_fit(x, features)
        return [ready_layer(conv.weights(embed), tiles) for conv in cast(list[CrystalGraphConv], list(self))]
