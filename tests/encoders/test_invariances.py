"""Random group elements on random records: an embedding does not feel what its encoder declares, and feels what it does not."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from geoembed import encoders as e
from geoembed.graphs import symmetries as sym
from geoembed.graphs.chain import chain_graph, light_curve_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.crystal import crystal_graph
from geoembed.graphs.grid import grid_graph
from geoembed.graphs.sphere import sphere_graph
from geoembed.schema import Graph
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from generators import CRYSTALS, crystal, event, letters, numbers

seeds = st.integers(0, 10_000)


@functools.cache
def small(name: str) -> e.Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = {
            "crystal": lambda: e.CrystalGraphEncoder(e.CrystalGraphConfig(hidden_dim=12, layers=2, embedding_dim=8, cutoff=5.0)),
            "jet": lambda: e.JetEncoder(e.JetConfig(widths=(8, 8), k=3, embedding_dim=8)),
            "particle_cloud": lambda: e.ParticleCloudEncoder(e.ParticleCloudConfig(hidden_dim=16, layers=2, heads=4, embedding_dim=8)),
            "galaxy": lambda: e.GalaxyMorphologyEncoder(e.GalaxyConfig(channels=2, patch=4, hidden_dim=8, layers=2, embedding_dim=8)),
            "transient": lambda: e.TransientLightCurveEncoder(e.TransientConfig(hidden_dim=8, layers=2, heads=2, embedding_dim=8)),
            "dna": lambda: e.DNABarcodeEncoder(e.DNABarcodeConfig(hidden_dim=8, layers=2, heads=2, embedding_dim=8)),
            "weather": lambda: e.WeatherStateEncoder(e.WeatherConfig(
                levels=1, level_variables=2, surface_variables=0, mesh_level=1, hidden_dim=8, layers=1, embedding_dim=8)),
        }[name]()
    return made.double().eval()


def embed(encoder: e.Encoder, graph: Graph) -> Tensor:
    with torch.no_grad():
        return encoder(graph)


def assert_alike(encoder: e.Encoder, a: Graph, b: Graph, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(embed(encoder, a), embed(encoder, b), atol=tolerance, rtol=0)


def field(seed: int) -> Graph:
    values = numbers(2, 5, 10, seed=seed)
    values[:, 0], values[:, -1] = values[:, 0, :1], values[:, -1, :1]
    return sphere_graph(values, lat=torch.linspace(90, -90, 5).double(), lon=torch.arange(10).double() * 36, level=1)


def curve(seed: int) -> Graph:
    z = numbers(14, 2, seed=seed)
    return light_curve_graph((z[:, 0] * 30).round(decimals=2), 20 + z[:, 1], passband=["gri"[i % 3] for i in range(14)])


SAMPLES = {
    "crystal": lambda seed: crystal_graph(crystal(list(CRYSTALS)[seed % len(CRYSTALS)]), cutoff=5.0),
    "jet": lambda seed: cloud_graph(**event(2 + seed % 12, seed), modality="jet"),
    "particle_cloud": lambda seed: cloud_graph(**event(2 + seed % 12, seed)),
    "galaxy": lambda seed: grid_graph(numbers(2, 8, 12, seed=seed), patch=4, mask=numbers(8, 12, seed=seed + 1) > -1, modality="galaxy"),
    "transient": curve, "dna": lambda seed: chain_graph.from_sequence(letters(2 + seed % 30, seed, "ACGTNRYKM")), "weather": field,
}


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=12)
@given(seed=seeds)
def test_declared_symmetries_hold_on_random_records(name, seed):
    encoder, graph, generator = small(name), SAMPLES[name](seed), torch.Generator().manual_seed(seed)
    for symmetry in type(encoder).symmetries:
        assert_alike(encoder, symmetry.apply(graph, generator), graph, 1e-5)


@pytest.mark.parametrize("name", SAMPLES)
def test_two_records_are_told_apart(name):
    vectors = torch.cat([embed(small(name), SAMPLES[name](seed)) for seed in range(4)])
    assert float(torch.cdist(vectors, vectors).fill_diagonal_(1).min()) > 1e-4


@given(seeds, st.floats(-20, 20))
def test_an_event_and_a_jet_do_not_feel_where_phi_begins(seed, angle):
    columns = event(9, seed)
    for name in ("jet", "particle_cloud"):
        turned = cloud_graph(**{**columns, "phi": columns["phi"] + angle})
        assert_alike(small(name), cloud_graph(**columns), turned, 1e-4)  # features are stored in float32


@given(seeds, st.integers(-3_000_000, 3_000_000))
def test_a_light_curve_does_not_feel_the_zero_of_time(seed, shift):
    graph = curve(seed)
    values = graph.x.double().where(graph.measured, math.nan)
    moved = light_curve_graph(graph.pos.flatten() + shift, *values.T, passband=graph.token.flatten().tolist())
    assert_alike(small("transient"), graph, moved, 1e-4)  # of 2.5 million days float64 keeps 40 µs


def test_julian_dates_survive_single_precision_and_autocast():
    encoder = e.TransientLightCurveEncoder(small("transient").config).eval()
    encoder.load_state_dict(small("transient").state_dict())
    graph = curve(3)
    late = graph.with_provenance()
    late.pos = graph.pos + 2_460_000.0
    torch.testing.assert_close(embed(encoder, late), embed(encoder, graph), atol=1e-4, rtol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(embed(encoder, late), embed(encoder, graph), atol=2e-2, rtol=0)


def test_a_light_curve_feels_the_direction_of_time_and_the_color():
    t, m = [0.0, 1.0, 3.0, 7.0], [20.0, 18.0, 19.0, 20.0]
    plain = light_curve_graph(t, m, passband="gggg")
    for other in (light_curve_graph([-x for x in t], m, passband="gggg"), light_curve_graph(t, m, passband="rrrr")):
        assert not torch.allclose(embed(small("transient"), plain), embed(small("transient"), other), atol=1e-4)


@given(st.integers(1, 40), seeds)
def test_a_barcode_and_its_opposite_strand_are_one(n, seed):
    text = letters(n, seed, "ACGTNRYSWKMBDHV")
    partner = str.maketrans("ACGTNRYSWKMBDHV", "TGCANYRSWMKVHDB")
    assert_alike(small("dna"), chain_graph.from_sequence(text), chain_graph.from_sequence(text.translate(partner)[::-1]), 1e-9)


def test_a_barcode_feels_its_order_and_its_complement_alone():
    text = letters(30, 1)
    for other in (text[::-1], text.translate(str.maketrans("ACGT", "TGCA")), text[1:] + text[:1]):
        far = (embed(small("dna"), chain_graph.from_sequence(text)) - embed(small("dna"), chain_graph.from_sequence(other))).abs().max()
        assert float(far) > 1e-5


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_a_galaxy_is_one_galaxy_in_all_eight_positions(k, flip):
    image = numbers(2, 12, 8)
    turned = torch.rot90(image.flip(2) if flip else image, k, (1, 2))
    assert_alike(small("galaxy"), grid_graph(image, modality="galaxy"), grid_graph(turned, modality="galaxy"), 1e-6)


@pytest.mark.parametrize("name", list(CRYSTALS))
def test_a_crystal_is_one_crystal_turned_shifted_sheared_and_repeated(name):
    encoder, generator, graph = small("crystal"), torch.Generator().manual_seed(5), crystal_graph(crystal(name), cutoff=5.0)
    other = graph
    for action in (sym.Rotation(), sym.ChoiceOfCell(), sym.Supercell(), sym.Translation(), sym.PermutationOfNodes()):
        other = action.apply(other, generator)
    assert_alike(encoder, graph, other, 1e-6)


def test_a_site_of_two_species_is_their_mean_by_occupancy():
    def site(**species: float) -> Tensor:
        z = {"Fe": 26, "Co": 27}
        return embed(small("crystal"), crystal_graph(
            numbers=[z[name[:2]] for name in species], token_node=[0] * len(species), occupancy=list(species.values()),
            frac_coords=[[0, 0, 0]], cell=torch.eye(3) * 2.5, cutoff=5.0))

    torch.testing.assert_close(site(Fe=1.0), site(Fe1=0.25, Fe2=0.75), atol=1e-7, rtol=0)
    distances = [float((site(Fe=1 - share, Co=share) - site(Fe=1.0)).norm()) for share in (0.1, 0.5, 0.9)]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_a_crystal_feels_a_swapped_species_and_a_stretched_bond():
    encoder, salt = small("crystal"), crystal("rock salt")
    plain = embed(encoder, crystal_graph(salt, cutoff=5.0))
    for other in (salt.copy().replace_species({"Cl": "Br"}), salt.copy().apply_strain(0.02)):
        assert float((embed(encoder, crystal_graph(other, cutoff=5.0)) - plain).abs().max()) > 1e-4
