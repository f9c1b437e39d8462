"""Features of particles relative to their jet or event, computed from kinematics (Qu & Gouskos 2020, table I)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from geoembed.errors import ValueRangeError
from geoembed.ops import segment_ids, segment_sum, wrap

TINY = 1e-8


def signed_log(x: Tensor) -> Tensor:
    """sign(x) · ln(1 + |x|): the logarithm of a momentum, harmless at zero and below."""
    return x.sign() * x.abs().log1p()


class JetFeatures(nn.Module):
    """Kinematics (pt, eta, phi, E) [N, 4] -> (Δeta, Δphi, ln pt, ln E, ln pt/Σpt, ln E/ΣE, ΔR) [N, 7] relative to the jet's axis.

    The axis is the pt-weighted mean of eta and the angle of the pt-weighted sum of (cos phi, sin phi), so a common shift of phi
    changes nothing. Rows that already have ``width`` features pass as they are. Angles are computed in float64: a jet at
    phi = ±π must not feel where it sits.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, ptr: Tensor) -> Tensor:
        if x.shape[-1] == self.width:
            return x
        if x.shape[-1] != 4 or self.width != 7:
            raise ValueRangeError(where="JetEncoder: x", found=f"{x.shape[-1]} features", expected=f"4 kinematic ones or {self.width}",
                                  remedy="Set JetConfig.features to the number of features of a constituent.")
        pt, eta, phi, energy = x.double().unbind(-1)
        row = segment_ids(ptr, len(x))
        share = torch.stack([pt, energy, pt * eta, pt * torch.cos(phi), pt * torch.sin(phi)], -1)
        total = segment_sum(share, ptr)[row]  # [N, 5]
        whole = total[:, :1].where(total[:, :1].abs() > TINY, 1.0)
        delta_eta = eta - total[:, 2] / whole[:, 0]
        delta_phi = wrap(phi - torch.atan2(total[:, 4], total[:, 3]), 2 * math.pi)
        relative = torch.stack([pt, energy], -1).abs().clamp(min=TINY) / total[:, :2].abs().clamp(min=TINY)
        features = [delta_eta, delta_phi, signed_log(pt), signed_log(energy), *relative.log().unbind(-1), torch.hypot(delta_eta, delta_phi)]
        return torch.stack(features, -1)
