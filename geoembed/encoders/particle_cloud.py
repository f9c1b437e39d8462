"""Collision events: attention among all particles of an event, biased by the kinematics of each pair (after Particle Transformer)."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import pad

from geoembed.config import config
from geoembed.encoders.base import Encoder
from geoembed.graphs.cloud import CLASSES
from geoembed.graphs.connect import TWO_PI, pair_features
from geoembed.graphs.symmetries import PermutationOfEdges, PermutationOfNodes, ShiftOfPhi
from geoembed.graphs.tensors import check_shapes, event_batch
from geoembed.nn import AttentionPooling, BiasedAttentionBlock, mlp, signed_log
from geoembed.ops import padded_index, segment_ids, segment_sum, size_buckets, slot_of_rows, wrap
from geoembed.schema import GraphBatch

PAIRS = 1 << 22
"""Pairs [B, q, n] whose features are held at once (4 Mi pairs × 4 features × 4 B = 64 MiB)."""


@config
class ParticleCloudConfig:
    """Sizes of :class:`ParticleCloudEncoder`."""

    hidden_dim: PositiveInt = 256
    layers: PositiveInt = 6
    heads: PositiveInt = 8
    embedding_dim: PositiveInt = 128


class ParticleCloudEncoder(Encoder[ParticleCloudConfig]):
    """Particles (pt, eta, phi, E) with class and charge, one to thousands an event, no padding kept -> [B, 128].

    Invariant to the order of particles and to a common shift of phi: phi enters through differences only.
    """

    name, kind, modalities = "particle_cloud", "cloud", ("event",)
    needs = frozenset({"x", "pos", "token"})
    vocabulary = ((0, CLASSES - 1), (0, 2))
    symmetries = (PermutationOfNodes(), PermutationOfEdges(), ShiftOfPhi())
    config_class = ParticleCloudConfig

    def __init__(self, config: ParticleCloudConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.kin_embed = nn.Linear(4, c.hidden_dim // 2)
        self.pid_embed = nn.Embedding(CLASSES, c.hidden_dim // 4)
        self.charge_embed = nn.Embedding(3, c.hidden_dim // 4)
        self.pair_bias = mlp(4, 32, c.heads, activation=nn.GELU)
        self.blocks = nn.ModuleList(BiasedAttentionBlock(c.hidden_dim, c.heads) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.hidden_dim)
        self.pool = AttentionPooling(c.hidden_dim, c.heads)
        self.readout = nn.Linear(c.hidden_dim, c.embedding_dim)

    @property
    def features(self) -> int:
        return 4

    def embed(self, batch: GraphBatch) -> Tensor:
        kinematics = self.kin_embed(self._kinematics(batch.x, batch.ptr).to(self.dtype))
        x = torch.cat([kinematics, self.pid_embed(batch.token[:, 0]), self.charge_embed(batch.token[:, 1])], -1)
        rows, raw = pad(x, (0, 0, 0, 1)), pad(batch.x, (0, 0, 0, 1))  # slots without a particle read row 0: let there be one
        groups, states = [], [x[:0]]
        for members in size_buckets(batch.ptr, PAIRS):  # events of similar size together: padding stays small
            index, exists = padded_index(batch.ptr, members)
            groups.append((members, index.shape[1]))
            states.append(self._attend(rows[index], raw[index], exists).flatten(0, 1))
        out = torch.cat(states)[slot_of_rows(batch.ptr, groups, x.shape[0])]
        pooled: Tensor = self.readout(self.pool(self.norm(out), batch.ptr))
        return pooled

    @staticmethod
    def _kinematics(x: Tensor, ptr: Tensor) -> Tensor:
        """(ln pt, eta, ln E, share of pt) [N, 4]: no absolute phi."""
        pt, eta, _, energy = x.unbind(-1)
        total = segment_sum(pt.abs().unsqueeze(-1), ptr)[segment_ids(ptr, len(pt))].squeeze(-1)
        return torch.stack([signed_log(pt), eta, signed_log(energy), pt / total.where(total > 0, 1.0)], -1)

    def _attend(self, states: Tensor, x: Tensor, exists: Tensor) -> Tensor:
        """All blocks on padded events [b, n, H]; biases are kept where they fit into one block of rows, else made per block."""
        pt, eta, phi, _ = x.unbind(-1)
        pt, n = pt.abs(), x.shape[1]
        block = n if torch.compiler.is_compiling() else max(1, PAIRS // max(1, x.shape[0] * n))  # a traced graph has one block

        def bias(rows: slice) -> Tensor:
            delta_eta = eta[:, rows].unsqueeze(-1) - eta.unsqueeze(-2)
            delta_phi = wrap(phi[:, rows].unsqueeze(-1) - phi.unsqueeze(-2), TWO_PI)
            pairs = pair_features(pt[:, rows].unsqueeze(-1), pt.unsqueeze(-2), delta_eta, delta_phi)  # [b, q, n, 4]
            heads: Tensor = self.pair_bias(pairs.to(self.dtype)).permute(0, 3, 1, 2)
            return heads

        if block >= n:
            whole = bias(slice(0, n))
            for layer in self.blocks:
                states = layer(states, exists, lambda rows: whole[:, :, rows], block)
        else:
            for layer in self.blocks:
                states = layer(states, exists, bias, block)
        return states

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """(kinematics [B, n, 4], particle ids [B, n], charges [B, n], and optionally mask [B, n], 1 = real) -> batch."""
        check_shapes(self.name, tensors, "B n 4", "B n", "B n", "B n", optional=1)
        kinematics, particle_ids, charges, *mask = tensors
        return event_batch(kinematics, particle_ids, charges, mask[0] if mask else None)

