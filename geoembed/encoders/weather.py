"""Weather states: grid to multi-mesh, message passing on the mesh, area-weighted pooling (after Lam et al. 2023, GraphCast)."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from geoembed.config import config
from geoembed.encoders.base import Encoder, configured
from geoembed.graphs.sphere import sphere_batch
from geoembed.graphs.symmetries import FifthTurnsOfTheSphere, PermutationOfEdges, PermutationOfNodes
from geoembed.graphs.tensors import check_shapes
from geoembed.nn import InteractionNetwork, Standardize, mlp, weighted_mean
from geoembed.ops import ptr_from_sorted
from geoembed.schema import Graph, GraphBatch

GRID_TO_MESH, ON_MESH = 0, 1
"""Values of ``edge_kind`` that the encoder reads."""


@config
class WeatherConfig:
    """Sizes of :class:`WeatherStateEncoder`."""

    levels: PositiveInt = 13
    level_variables: PositiveInt = 5
    """T, u, v, q, z."""
    surface_variables: int = 4
    """2 m temperature, 10 m wind u and v, mean sea-level pressure."""
    mesh_level: PositiveInt = 5
    """Refinement of the mesh that :meth:`WeatherStateEncoder.from_tensors` builds."""
    hidden_dim: PositiveInt = 256
    layers: PositiveInt = 4
    embedding_dim: PositiveInt = 512


class WeatherStateEncoder(Encoder[WeatherConfig]):
    """A state of 13 levels × 5 variables + 4 surface variables on any grid or at any points of the sphere -> [B, 512].

    Missing values (below ground, over land, outside a swath) are unmeasured entries. Invariant to turning the field by
    72° of longitude, the rotations that the mesh shares; states of one grid share their topology in a batch.
    """

    name, kind, modalities = "weather", "sphere", ("weather",)
    needs = frozenset({"x", "measured", "mask", "pos", "weight", "node_kind", "edge_kind", "edge_index", "edge_attr"})
    symmetries = (PermutationOfNodes(), PermutationOfEdges(), FifthTurnsOfTheSphere())
    config_class = WeatherConfig

    def __init__(self, config: WeatherConfig | None = None) -> None:
        super().__init__(config)
        c, h = self.config, self.config.hidden_dim
        self.norm = Standardize(self.features)
        self.grid_embed = mlp(2 * self.features + 2, h, h, activation=nn.SiLU)
        self.mesh_embed = mlp(2, h, h, activation=nn.SiLU)
        self.bridge_embed = mlp(3, h, h, activation=nn.SiLU)
        self.edge_embed = mlp(3, h, h, activation=nn.SiLU)
        self.grid_to_mesh = InteractionNetwork(h)
        self.processor = nn.ModuleList(InteractionNetwork(h) for _ in range(c.layers))
        self.readout = mlp(h, h, c.embedding_dim, activation=nn.SiLU)

    @property
    def features(self) -> int:
        return self.config.levels * self.config.level_variables + self.config.surface_variables

    @classmethod
    def config_for(cls, graph: Graph) -> WeatherConfig:
        return configured(WeatherConfig(), levels=1, level_variables=int(graph.x.shape[-1]), surface_variables=0)

    def embed(self, batch: GraphBatch) -> Tensor:
        is_mesh = batch.node_kind == 1
        grid, mesh = torch.nonzero(~is_mesh).squeeze(-1), torch.nonzero(is_mesh).squeeze(-1)
        place = torch.empty_like(is_mesh, dtype=torch.int64)  # number of a node within its kind
        place[grid] = torch.arange(len(grid), device=place.device)
        place[mesh] = torch.arange(len(mesh), device=place.device)
        bridge, bridge_ptr, bridge_attr = _relation(batch, GRID_TO_MESH, place, len(mesh))
        inner, inner_ptr, inner_attr = _relation(batch, ON_MESH, place, len(mesh))

        latitude = torch.stack([batch.pos[:, 2], (1 - batch.pos[:, 2].square()).clamp(min=0).sqrt()], -1).to(self.dtype)  # sin, cos
        measured = (batch.measured & batch.mask.unsqueeze(-1)).index_select(-2, grid)
        values = self.norm(batch.x.index_select(-2, grid), measured).to(self.dtype)
        where = latitude[grid].expand(*values.shape[:-1], 2)
        points = self.grid_embed(torch.cat([values, measured.to(self.dtype), where], -1))  # [..., grid, H]
        nodes = self.mesh_embed(latitude[mesh]).expand(*points.shape[:-2], -1, -1)  # [..., mesh, H]

        nodes, _ = self.grid_to_mesh(points, nodes, self.bridge_embed(bridge_attr.to(self.dtype)), bridge, bridge_ptr)
        edges = self.edge_embed(inner_attr.to(self.dtype))
        for layer in self.processor:
            nodes, edges = layer(nodes, nodes, edges, inner, inner_ptr)
        pooled: Tensor = self.readout(weighted_mean(nodes, _mesh_ptr(batch, mesh), batch.weight[mesh]))
        return pooled

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """(surface [B, 4, H, W], atmosphere [B, 5, 13, H, W]) on a regular grid from 90° to −90° and 0° to 360° -> batch."""
        check_shapes(self.name, tensors, "B S H W", "B V L H W")
        surface, atmosphere = tensors
        values = torch.cat([surface, atmosphere.flatten(1, 2)], dim=1)
        lat = torch.linspace(90, -90, values.shape[-2], dtype=torch.float64)
        lon = torch.arange(values.shape[-1], dtype=torch.float64) * (360 / values.shape[-1])
        return sphere_batch(values, lat=lat, lon=lon, level=self.config.mesh_level)


def _relation(batch: GraphBatch, kind: int, place: Tensor, targets: int) -> tuple[Tensor, Tensor, Tensor]:
    """Edges of one kind in the numbering within node kinds, their bounds by target, and their geometry."""
    chosen = torch.nonzero(batch.edge_kind == kind).squeeze(-1)
    edge_index = place[batch.edge_index[:, chosen]]
    return edge_index, ptr_from_sorted(edge_index[1], targets), batch.edge_attr[chosen]


def _mesh_ptr(batch: GraphBatch, mesh: Tensor) -> Tensor:
    """Bounds of each graph's mesh nodes among all mesh nodes of the batch."""
    if batch.stacked:
        return torch.arange(batch.num_graphs + 1, device=mesh.device) * len(mesh)
    return torch.searchsorted(mesh, batch.ptr)
