"""Faults of other packages' encoders that must not happen here; the numbers are those of the list of faults."""

from __future__ import annotations

import hashlib

import pytest
import torch
from geoembed import encoders as e
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.crystal import crystal_graph
from geoembed.schema import Graph, GraphBatch
from torch import Tensor

from generators import EVERY_KIND, event, numbers, sample

MAKERS = {
    "crystal": lambda: e.CrystalGraphEncoder(e.CrystalGraphConfig(hidden_dim=16, layers=2, embedding_dim=8)),
    "disordered": lambda: e.CrystalGraphEncoder(e.CrystalGraphConfig(hidden_dim=16, layers=2, embedding_dim=8)),
    "jet": lambda: e.JetEncoder(e.JetConfig(widths=(8, 16), k=3, embedding_dim=8)),
    "event": lambda: e.ParticleCloudEncoder(e.ParticleCloudConfig(hidden_dim=16, layers=2, heads=2, embedding_dim=8)),
    "image": lambda: e.SpeciesImageEncoder(e.SpeciesConfig(channels=2, patch=4, hidden_dim=16, layers=2, embedding_dim=8, species=3)),
    "light_curve": lambda: e.TransientLightCurveEncoder(e.TransientConfig(hidden_dim=16, layers=2, heads=2, embedding_dim=8)),
    "spectrum": lambda: e.SpectrumEncoder(e.SpectrumConfig(hidden_dim=16, layers=2, heads=2, embedding_dim=8)),
    "sequence": lambda: e.DNABarcodeEncoder(e.DNABarcodeConfig(hidden_dim=16, layers=2, heads=2, embedding_dim=8)),
    "field": lambda: e.WeatherStateEncoder(e.WeatherConfig(
        levels=1, level_variables=2, surface_variables=0, mesh_level=1, hidden_dim=16, layers=2, embedding_dim=8)),
}


def make(kind: str) -> e.Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MAKERS[kind]().eval()


def embed(encoder: e.Encoder, graphs: list[Graph]) -> Tensor:
    with torch.no_grad():
        return encoder(GraphBatch.from_data_list(graphs))


def digest(graph: Graph) -> str:
    parts = [name.encode() + value.numpy().tobytes() for name, value in sorted(graph.items()) if isinstance(value, Tensor)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_48_an_embedding_depends_on_its_record_alone_and_the_call_changes_no_input(kind):
    encoder, graphs = make(kind), [sample(kind, seed % 11) for seed in range(64)]
    before = [digest(graph) for graph in graphs]
    alone = torch.cat([embed(encoder, [graph]) for graph in graphs[:11]])
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1)).tolist()
    for size in (1, 7, 64):
        for low in range(0, 64, size)[:6]:
            chosen = order[low : low + size]
            together = embed(encoder, [graphs[i] for i in chosen])
            torch.testing.assert_close(together, alone[[i % 11 for i in chosen]], atol=1e-6, rtol=0)
    assert [digest(graph) for graph in graphs] == before


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_48_training_mode_needs_no_second_record(kind):
    encoder, graph = make(kind), sample(kind)
    plain = embed(encoder, [graph])
    assert torch.equal(embed(encoder.train(), [graph]), plain)
    assert not [m for m in encoder.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_40_a_hundred_repeats_give_the_same_bits(kind):
    encoder, graphs = make(kind), [sample(kind, seed) for seed in range(3)]
    first = embed(encoder, graphs)
    assert all(torch.equal(embed(encoder, graphs), first) for _ in range(20))


def test_29_a_batch_of_isolated_nodes_only_is_embedded():
    lone = [crystal_graph(numbers=[z], positions=[[0.0, 0, 0]]) for z in range(1, 6)]
    vectors = embed(make("crystal"), lone)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5), atol=1e-6, rtol=0)
    assert float(torch.cdist(vectors, vectors).fill_diagonal_(1).min()) > 1e-4


def test_42_a_record_that_embeds_to_zero_stays_zero_and_trains_without_nan():
    encoder = make("crystal")
    torch.nn.init.zeros_(encoder.readout[-1].weight)
    torch.nn.init.zeros_(encoder.readout[-1].bias)
    vectors = encoder(sample("crystal"))
    assert vectors.tolist() == [[0.0] * 8]
    vectors.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", ["event", "jet", "light_curve", "spectrum", "image"])
def test_43_large_inputs_under_autocast_stay_finite(kind):
    encoder, graph = make(kind), sample(kind, 3)
    graph.x = graph.x * (torch.tensor([1e4, 1, 1, 1e4]) if kind in ("event", "jet") else 1e4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vector = embed(encoder, [graph])
    assert vector.dtype == torch.float32
    assert vector.norm().item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("kind", ["image", "field", "light_curve", "spectrum"])
def test_11_a_value_that_was_not_measured_has_exactly_no_influence(kind):
    encoder, graph = make(kind), sample(kind)
    hidden = ~(graph.measured & graph.mask.unsqueeze(-1))
    assert bool(hidden.any())
    plain = embed(encoder, [graph])
    for junk in (torch.nan, torch.inf, -9999.0, 9.97e36):
        other = graph.with_provenance()
        other.x = graph.x.where(~hidden, junk)
        assert torch.equal(embed(encoder, [other]), plain)
    shown = graph.with_provenance()
    shown.x = graph.x.where(hidden, graph.x + 1)
    assert not torch.equal(embed(encoder, [shown]), plain)


def test_21_and_32_clouds_of_0_1_2_3_and_200_particles_are_one_batch():
    for kind in ("jet", "event"):
        graphs = [cloud_graph(**event(n, seed=n), modality=kind) for n in (0, 1, 2, 3, 200)]
        encoder = make(kind)
        together = embed(encoder, graphs)
        for row, graph in zip(together, graphs, strict=True):
            torch.testing.assert_close(row, embed(encoder, [graph])[0], atol=1e-6, rtol=0)
        assert bool(torch.isfinite(together).all())


def test_a_large_event_in_blocks_equals_one_piece(monkeypatch):
    graph, encoder = cloud_graph(**event(60)), make("event")
    whole = embed(encoder, [graph])
    monkeypatch.setattr("geoembed.encoders.particle_cloud.PAIRS", 500)
    torch.testing.assert_close(embed(encoder, [graph]), whole, atol=1e-6, rtol=0)


def test_46_an_encoder_is_traced_with_free_sizes():
    """Node and edge counts differ from batch to batch; none is built into the module."""
    encoder = make("crystal")
    shapes = {tuple(p.shape) for p in encoder.parameters()}
    for n in range(1, 6):
        embed(encoder, [crystal_graph(numbers=[6] * n, positions=numbers(n, 3) * 5)])
    assert {tuple(p.shape) for p in encoder.parameters()} == shapes
