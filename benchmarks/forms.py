"""The crystal encoder as others would write it, on the same parameters: what ours is compared with.

``loop``: the plain form with concatenated messages and a loop over atoms for pooling. ``vectorized``: the same without the loop.
``factorized``: the first linear map split by columns, the embedding of edges folded into it, projections on nodes; the best that
``torch.compile`` is given. All take (numbers [N], edge_index [2, E] sorted by target, edge features [E, G], graph of each atom [N],
B) and give unit vectors [B, D].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, relu

Aggregate = Callable[[Tensor, Tensor, int], Tensor]
"""(messages [E, H], target [E] sorted, N) -> [N, H]."""


def by_index_add(message: Tensor, target: Tensor, nodes: int) -> Tensor:
    """For any edges; not reproducible on a GPU."""
    return message.new_zeros(nodes, message.shape[1]).index_add_(0, target, message)


def by_segment_reduce(lengths: Tensor) -> Aggregate:
    """For edges sorted by target, ``lengths`` [N] of each; sums bfloat16 in bfloat16."""
    return lambda message, target, nodes: torch.segment_reduce(message, "sum", lengths=lengths, unsafe=True)


def by_view(message: Tensor, target: Tensor, nodes: int) -> Tensor:
    """For targets with the same number of edges each."""
    return message.view(nodes, -1, message.shape[1]).sum(1)


class PlainConv(nn.Module):
    """x + MLP[x, Σ x_s · sigmoid(MLP[x_s, x_t, e])]; the names of its parameters are ours."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.edge_mlp = nn.Sequential(nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.Sigmoid())
        self.node_mlp = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden))

    def forward(self, x: Tensor, edge_index: Tensor, edges: Tensor) -> Tensor:
        source, target = edge_index
        message = x[source] * self.edge_mlp(torch.cat([x[source], x[target], edges], -1))
        received = torch.zeros_like(x).index_add_(0, target, message)
        update: Tensor = self.node_mlp(torch.cat([x, received], -1))
        return x + update


class PlainCrystalEncoder(nn.Module):
    """The forms; :meth:`load` copies the parameters of ours."""

    def __init__(self, species: int, features: int, hidden: int, layers: int, embedding: int) -> None:
        super().__init__()
        self.atom_embed, self.edge_embed = nn.Embedding(species, hidden), nn.Linear(features, hidden)
        self.convs = nn.ModuleList(PlainConv(hidden) for _ in range(layers))
        self.readout = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, embedding))

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Parameters by name; ours has the constants of its distance basis besides."""
        self.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("basis.")})

    def loop(self, numbers: Tensor, edge_index: Tensor, edges: Tensor, graph: Tensor, count: int) -> Tensor:
        x = self._nodes(numbers, edge_index, edges)
        total, size = x.new_zeros(count, x.shape[1]), x.new_zeros(count)
        for i in range(len(x)):  # an atom at a time, as a first version does it
            total[graph[i]] += x[i]
            size[graph[i]] += 1
        return normalize(self.readout(total / size.clamp(min=1).unsqueeze(-1)), dim=-1)

    def vectorized(self, numbers: Tensor, edge_index: Tensor, edges: Tensor, graph: Tensor, count: int) -> Tensor:
        return self._pooled(self._nodes(numbers, edge_index, edges), graph, count)

    def factorized(
        self, numbers: Tensor, edge_index: Tensor, edges: Tensor, graph: Tensor, count: int, aggregate: Aggregate = by_index_add
    ) -> Tensor:
        source, target = edge_index
        x = self.atom_embed(numbers - 1)
        for conv in cast(Iterable[PlainConv], self.convs):
            (first, _, second, _), (node, _, last) = cast(Any, conv.edge_mlp), cast(Any, conv.node_mlp)
            of_source, of_target, of_edge = first.weight.chunk(3, 1)
            of_node, of_sum = node.weight.chunk(2, 1)
            from_source, at_target, own = linear(x, torch.cat([of_source, of_target, of_node])).chunk(3, 1)
            at_target = at_target + (linear(self.edge_embed.bias, of_edge) + first.bias)
            hidden = relu(from_source[source] + at_target[target] + linear(edges, of_edge @ self.edge_embed.weight))
            received = aggregate(x[source] * torch.sigmoid(second(hidden)), target, len(x))
            x = x + last(relu(own + node.bias + linear(received, of_sum)))
        return self._pooled(x, graph, count)

    def _nodes(self, numbers: Tensor, edge_index: Tensor, edges: Tensor) -> Tensor:
        x, embedded = self.atom_embed(numbers - 1), self.edge_embed(edges)
        for conv in self.convs:
            x = conv(x, edge_index, embedded)
        out: Tensor = x
        return out

    def _pooled(self, x: Tensor, graph: Tensor, count: int) -> Tensor:
        total = x.new_zeros(count, x.shape[1]).index_add_(0, graph, x)
        size = torch.zeros(count, device=x.device).index_add_(0, graph, torch.ones(len(x), device=x.device))  # exact: no bfloat16
        return normalize(self.readout(total / size.clamp(min=1).to(x.dtype).unsqueeze(-1)), dim=-1)
