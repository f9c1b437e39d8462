"""Raw tensors of the shapes that the literature's encoders take go in as they are, with every encoder's defaults."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from geoembed import encoders as e
from torch import Tensor


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def randint(low: int, high: int, *shape: int) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(1))


def crystal() -> tuple[Tensor, ...]:
    """Edges in no order, with repeats and self-loops."""
    edges = randint(0, 8, 2, 24)
    edges[:, 3], edges[:, 4] = edges[:, 5], 6
    return randint(1, 93, 8), edges, randn(24, 10), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])


def event() -> tuple[Tensor, ...]:
    """Kinematics as they come out of a generator of normal numbers, negative pT included."""
    mask = (torch.arange(50) < torch.tensor([50, 30, 1, 17]).unsqueeze(-1)).float()
    return randn(4, 50, 4), randint(0, 20, 4, 50), randint(-1, 2, 4, 50), mask


CASES: dict[str, tuple[Callable[[], e.Encoder], Callable[[], tuple[Tensor, ...]], tuple[int, int]]] = {
    "galaxy": (e.GalaxyMorphologyEncoder, lambda: (randn(4, 5, 64, 64),), (4, 256)),
    "transient": (e.TransientLightCurveEncoder, lambda: (randn(4, 20).sort().values * 10, randn(4, 20), randn(4, 20).abs()), (4, 256)),
    "spectrum": (e.SpectrumEncoder, lambda: (torch.linspace(3600, 10_400, 1024).expand(2, -1), randn(2, 1024)), (2, 256)),
    "weather": (lambda: e.WeatherStateEncoder(e.WeatherConfig(hidden_dim=16, layers=1, mesh_level=3)),
                lambda: (randn(2, 4, 181, 360), randn(2, 5, 13, 181, 360)), (2, 512)),
    "satellite": (e.SatelliteImageEncoder, lambda: (randn(4, 13, 128, 128),), (4, 256)),
    "crystal": (e.CrystalGraphEncoder, crystal, (3, 128)),
    "particle_cloud": (e.ParticleCloudEncoder, event, (4, 128)),
    "jet": (e.JetEncoder, lambda: (randn(4, 50, 7),), (4, 128)),
    "species": (e.SpeciesImageEncoder, lambda: (randn(4, 3, 224, 224),), (4, 256)),
    "bioacoustic": (e.BioacousticEncoder, lambda: (randn(4, 128, 200),), (4, 256)),
    "dna": (e.DNABarcodeEncoder, lambda: (randint(0, 5, 4, 256),), (4, 256)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_tensors_of_the_chapter_become_finite_unit_vectors_that_tell_records_apart(name):
    make, tensors, shape = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = make().eval()
    raw = tensors()
    before = [tensor.clone() for tensor in raw]
    batch = encoder.from_tensors(*raw)
    with torch.no_grad():
        vectors = encoder(batch)
    assert vectors.shape == shape
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(shape[0]), atol=1e-5, rtol=0)
    assert float(torch.cdist(vectors, vectors).fill_diagonal_(1).min()) > 1e-5
    assert all(torch.equal(a, b) for a, b in zip(raw, before, strict=True))


def test_a_photograph_gets_a_score_for_each_of_ten_thousand_species():
    encoder = e.SpeciesImageEncoder().eval()
    with torch.no_grad():
        assert encoder.logits(encoder(encoder.from_tensors(randn(1, 3, 32, 32)))).shape == (1, 10_000)


def test_a_raw_crystal_trains():
    encoder = e.CrystalGraphEncoder(e.CrystalGraphConfig(hidden_dim=16))
    encoder(encoder.from_tensors(*crystal()))[:, 0].sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in encoder.parameters())
