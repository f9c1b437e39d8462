"""The crystal encoder against the textbook form of its network, written apart from it, with the same weights."""

from __future__ import annotations

import pytest
import torch
from geoembed.encoders import CrystalGraphConfig, CrystalGraphEncoder
from torch import Tensor, nn


class Textbook(nn.Module):
    """Embedding of Z up to 92, edge network on concatenated states, ``index_add`` a layer, mean over the atoms of a crystal."""

    def __init__(self, hidden: int, features: int, layers: int, out: int) -> None:
        super().__init__()
        self.atom_embed = nn.Embedding(92, hidden)
        self.edge_embed = nn.Linear(features, hidden)
        self.edge_mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.Sigmoid()) for _ in range(layers))
        self.node_mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden)) for _ in range(layers))
        self.readout = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, numbers: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        x, edges = self.atom_embed(numbers - 1), self.edge_embed(edge_attr)
        source, target = edge_index
        for edge_mlp, node_mlp in zip(self.edge_mlps, self.node_mlps, strict=True):
            gate = edge_mlp(torch.cat([x[source], x[target], edges], dim=-1))
            received = torch.zeros_like(x).index_add(0, target, x[source] * gate)
            x = x + node_mlp(torch.cat([x, received], dim=-1))
        rows: list[list[Tensor]] = [[] for _ in range(int(batch.max()) + 1)]
        for atom, graph in enumerate(batch.tolist()):
            rows[graph].append(x[atom])
        pooled = torch.stack([torch.stack(atoms).mean(0) for atoms in rows])
        return nn.functional.normalize(self.readout(pooled), dim=-1)


def with_weights_of(encoder: CrystalGraphEncoder) -> Textbook:
    c = encoder.config
    book = Textbook(c.hidden_dim, c.bond_features, c.layers, c.embedding_dim).double()
    with torch.no_grad():
        book.atom_embed.weight.copy_(encoder.atom_embed.weight[:92])
    book.edge_embed.load_state_dict(encoder.edge_embed.state_dict())
    book.readout.load_state_dict(encoder.readout.state_dict())
    for conv, edge_mlp, node_mlp in zip(encoder.convs, book.edge_mlps, book.node_mlps, strict=True):
        edge_mlp.load_state_dict(conv.edge_mlp.state_dict())
        node_mlp.load_state_dict(conv.node_mlp.state_dict())
    return book


@pytest.mark.parametrize("seed", range(3))
def test_embeddings_and_gradients_equal_the_textbook_for_every_element_up_to_uranium(seed):
    g = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = CrystalGraphEncoder(CrystalGraphConfig(hidden_dim=32, layers=4, embedding_dim=16)).double()
    book = with_weights_of(encoder)
    atoms, edges = 92, 700
    numbers = torch.randperm(92, generator=g) + 1
    edge_index = torch.randint(0, atoms, (2, edges), generator=g)
    edge_attr = torch.randn(edges, 10, generator=g, dtype=torch.float64)
    batch = torch.randint(0, 5, (atoms,), generator=g)
    ours, plain = encoder(encoder.from_tensors(numbers, edge_index, edge_attr, batch)), book(numbers, edge_index, edge_attr, batch)
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=0)
    weight = torch.randn(5, 16, generator=g, dtype=torch.float64)
    (ours * weight).sum().backward()
    (plain * weight).sum().backward()
    torch.testing.assert_close(encoder.atom_embed.weight.grad[:92], book.atom_embed.weight.grad, atol=1e-8, rtol=1e-6)
    for conv, edge_mlp in zip(encoder.convs, book.edge_mlps, strict=True):
        torch.testing.assert_close(conv.edge_mlp[0].weight.grad, edge_mlp[0].weight.grad, atol=1e-8, rtol=1e-6)
