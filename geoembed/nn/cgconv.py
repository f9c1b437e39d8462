"""The crystal graph convolution as torch-geometric has it: its parameters, its names, its numbers."""

from __future__ import annotations

from torch import Tensor, nn

from geoembed.errors import UnknownNameError
from geoembed.ops import GateWeights, fused_cgconv
from geoembed.ops.cgconv import Nodes


class CGConv(nn.Module):
    """x_t + Σ_s sigmoid(z W_f + b_f) · softplus(z W_s + b_s), z = [x_t, x_s, e_st] (Xie & Grossman 2018, eq. 5).

    Takes the place of ``torch_geometric.nn.CGConv``: same arguments, same state_dict. x [..., N, C], edge_index [2, E] with sources
    in row 0, edge_attr [E, D] -> [..., N, C]; x may be a pair of sources and targets. On a GPU the sum over edges is one
    kernel whose result is the same in every run.

    Args:
        channels: C, or (C of sources, C of targets).
        dim: D, number of edge features.
        aggr: ``"add"`` or ``"mean"``.
        batch_norm: normalize what a node receives before it is added to x.
        bias: whether both linear maps have one.

    Raises:
        UnknownNameError: another ``aggr``.
    """

    def __init__(
        self, channels: int | tuple[int, int], dim: int = 0, aggr: str = "add", batch_norm: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        if aggr not in ("add", "mean"):
            raise UnknownNameError(where="CGConv, aggr", found=aggr, expected="add or mean", remedy="Choose one of them.")
        self.channels, self.dim, self.aggr = channels, dim, aggr
        source, target = (channels, channels) if isinstance(channels, int) else channels
        self.lin_f = nn.Linear(source + target + dim, target, bias=bias)
        self.lin_s = nn.Linear(source + target + dim, target, bias=bias)
        self.bn = nn.BatchNorm1d(target) if batch_norm else None

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        for part in (self.lin_f, self.lin_s, self.bn):
            if part is not None:
                part.reset_parameters()

    def forward(
        self, x: Nodes, edge_index: Tensor, edge_attr: Tensor | None = None, ptr: Tensor | None = None, *, unsafe: bool = False
    ) -> Tensor:
        """``ptr`` [N+1]: bounds of the edges of each target, where they are sorted by it; ``unsafe``: do not look at their numbers."""
        weights = GateWeights(self.lin_f.weight, self.lin_s.weight, self.lin_f.bias, self.lin_s.bias)
        out = fused_cgconv(x, edge_index, edge_attr, weights, ptr=ptr, mean=self.aggr == "mean", residual=self.bn is None, unsafe=unsafe)
        if self.bn is None:
            return out
        target = x[1] if isinstance(x, tuple) else x
        normed: Tensor = self.bn(out.flatten(0, -2))
        return normed.view(out.shape) + target

    def extra_repr(self) -> str:
        """Channels and edge features."""
        return f"{self.channels}, dim={self.dim}"
