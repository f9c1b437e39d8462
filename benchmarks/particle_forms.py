"""ParticleNet from its paper (Qu & Gouskos 2020, section III), and what one makes of it for inference: rivals of ours.

``ParticleNet`` has 1 × 1 convolutions, batch norms and an array of all pairs, as published; its k nearest are those of −2xy + x² + y²
and ``topk``. ``Factorized`` has the norms folded into the maps, the first map split into two products on nodes, channels last and
equal jets: the best that ``torch.compile`` is given.
"""

from __future__ import annotations

import torch
from geoembed.nn import EdgeConv, FoldedEdgeConv
from geoembed.ops import knn
from geoembed.ops.edgeconv import projection
from torch import Tensor, nn
from torch.nn.functional import linear, relu

WIDTHS = (64, 128, 256)
FEATURES, K, CLASSES = 7, 16, 2


def topk_neighbors(points: Tensor, k: int) -> Tensor:
    """Slots of the k nearest others: points [B, n, P] -> [B, n, k], distances as products, in float32 at least."""
    wide = points if points.dtype == torch.float64 else points.float()
    distance = torch.baddbmm(wide.square().sum(-1).unsqueeze(1), wide, wide.mT, alpha=-2.0)
    distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return distance.topk(k, dim=-1, largest=False, sorted=False).indices


class Block(nn.Module):
    """EdgeConv as published: features [B, F, n], slots [B, n, k] -> [B, H, n]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, outputs, 1, bias=False) for width in (2 * inputs, outputs, outputs))
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(3))
        self.shortcut, self.shortcut_norm = nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor, slots: Tensor) -> Tensor:
        b, width, n = x.shape
        rows = x.mT.reshape(b * n, width)
        number = (slots + torch.arange(b, device=x.device)[:, None, None] * n).flatten()
        other = rows[number].view(b, n, slots.shape[-1], width).permute(0, 3, 1, 2)  # [B, F, n, k]
        own = x.unsqueeze(-1).expand_as(other)
        message = torch.cat([own, other - own], 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            message = relu(norm(conv(message)))
        return relu(message.mean(-1) + self.shortcut_norm(self.shortcut(x)))


class ParticleNet(nn.Module):
    """Places [B, n, 2], features [B, n, 7] -> [B, 2]: three blocks whose neighbors are found anew, mean over particles, two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(FEATURES)
        self.blocks = nn.ModuleList(Block(a, b) for a, b in zip((FEATURES, *WIDTHS[:-1]), WIDTHS, strict=True))
        self.head = nn.Sequential(nn.Linear(WIDTHS[-1], 256), nn.ReLU(), nn.Linear(256, CLASSES))

    def forward(self, places: Tensor, features: Tensor) -> Tensor:
        x = self.norm(features.mT)
        for i, block in enumerate(self.blocks):
            x = block(x, topk_neighbors(places if i == 0 else x.mT, K))
        out: Tensor = self.head(x.mean(-1))
        return out

    @torch.no_grad()
    def as_if_trained(self) -> ParticleNet:
        """Statistics and gains of the norms away from 0 and 1, in evaluation."""
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                for part, low, high in ((norm.running_mean, -0.2, 0.2), (norm.running_var, 0.5, 1.5), (norm.weight, 0.5, 1.5),
                                        (norm.bias, -0.2, 0.2)):
                    if part is not None:
                        part.uniform_(low, high)
        return self.eval()


class FoldedNet(nn.Module):
    """The same network at inference by our layers, for jets of any sizes: places [N, 2], features [N, 7], ptr [B+1] -> [B, 2]."""

    def __init__(self, net: ParticleNet) -> None:
        super().__init__()
        norm = net.norm
        assert norm.running_mean is not None and norm.running_var is not None  # noqa: PT018
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        self.gain, self.shift = nn.Parameter(gain.detach()), nn.Parameter((norm.bias - gain * norm.running_mean).detach())
        self.convs = nn.ModuleList(folded(block) for block in net.blocks)
        self.head = net.head

    def forward(self, places: Tensor, features: Tensor, ptr: Tensor, largest: int) -> Tensor:
        """All jets have ``largest`` particles, so that means over them are a view."""
        x = torch.addcmul(self.shift, features.to(self.gain.dtype), self.gain)
        x = self.convs[0](x, knn(places, ptr, K, largest=largest))
        for conv in list(self.convs)[1:]:
            x = conv(x, knn(x, ptr, K))
        return self.readout(x.view(-1, largest, x.shape[-1]))

    def readout(self, x: Tensor) -> Tensor:
        """Class scores [B, 2] of particles [B, n, H]."""
        mean = x.mean(1, dtype=torch.promote_types(x.dtype, torch.float32)).to(x.dtype)
        out: Tensor = self.head(mean)
        return out


class Factorized(nn.Module):
    """:class:`FoldedNet` with arrays of pairs, for equal jets: places [B, n, 2], features [B, n, 7] -> [B, 2]."""

    def __init__(self, net: FoldedNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, places: Tensor, features: Tensor) -> Tensor:
        b, n, _ = features.shape
        first = torch.arange(b, device=features.device)[:, None, None] * n
        x = torch.addcmul(self.net.shift, features.to(self.net.gain.dtype), self.net.gain).flatten(0, 1)
        for i, conv in enumerate(self.net.convs):
            number = (topk_neighbors(places if i == 0 else x.view(b, n, -1), K) + first).flatten()
            x = factorized(conv, x, number)
        return self.net.readout(x.view(b, n, -1))


def folded(block: nn.Module) -> FoldedEdgeConv:
    """Our layer of a published block."""
    assert isinstance(block, Block)
    pairs = list(zip(block.convs, block.norms, strict=True))
    return FoldedEdgeConv.of(pairs, (block.shortcut, block.shortcut_norm))  # type: ignore[arg-type]


def factorized(conv: nn.Module, x: Tensor, number: Tensor) -> Tensor:
    """A folded layer on rows [N, F] with k neighbors each, numbers [N · k]: arrays of [N, k, H]."""
    first, second, third = conv.maps  # type: ignore[misc, union-attr]
    weight, bias = projection((first.weight, first.bias), (conv.shortcut.weight, conv.shortcut.bias))  # type: ignore[union-attr, arg-type]
    own, other, rest = torch.addmm(bias, x, weight.mT).chunk(3, dim=1)
    message = relu(other[number].view(len(x), K, -1) + own.unsqueeze(1)).flatten(0, 1)
    message = relu(linear(relu(linear(message, second.weight, second.bias)), third.weight, third.bias))
    mean = message.view(len(x), K, -1).mean(1, dtype=torch.promote_types(x.dtype, torch.float32))
    return relu(mean.to(x.dtype) + rest)


def normed(conv: EdgeConv, x: Tensor, number: Tensor) -> Tensor:
    """Our layer-norm form on rows [N, F] with k neighbors each, with arrays of [N, k, H], the last map after the mean."""
    norm0, _, second, norm1, _, last = conv.rest
    weight, bias = projection((conv.first.weight, conv.first.bias), (conv.shortcut.weight, conv.shortcut.bias))
    own, other, rest = torch.addmm(bias, x, weight.mT).chunk(3, dim=1)
    message = relu(norm0(other[number].view(len(x), K, -1) + own.unsqueeze(1)))
    mean = relu(norm1(second(message))).mean(1, dtype=torch.promote_types(x.dtype, torch.float32)).to(x.dtype)
    out: Tensor = relu(conv.norm(last(mean) + rest))
    return out
