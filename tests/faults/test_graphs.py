"""Faults of other packages' graphs that must not happen here; the numbers are those of the list of faults."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from geoembed.encoders import CrystalGraphConfig, CrystalGraphEncoder, JetConfig, JetEncoder, ParticleCloudConfig, ParticleCloudEncoder
from geoembed.errors import SchemaError, ValueRangeError
from geoembed.graphs.chain import chain_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.connect import pair_attr, pair_features
from geoembed.graphs.crystal import MAX_Z, crystal_graph
from geoembed.graphs.symmetries import Supercell, Translation
from geoembed.schema import Graph, GraphBatch
from torch import Tensor

from generators import CRYSTALS, brute_force, cell_of, crystal, directed_pairs, event, numbers


def encoder() -> CrystalGraphEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CrystalGraphEncoder(CrystalGraphConfig(hidden_dim=16, layers=3, embedding_dim=8, cutoff=6.0)).double().eval()


def embed(model: torch.nn.Module, *graphs: Graph) -> Tensor:
    with torch.no_grad():
        vectors: Tensor = model(GraphBatch.from_data_list(list(graphs)))
    return vectors


def surroundings(graph: Graph) -> Counter[tuple[object, ...]]:
    """How many sites of the cell have which neighborhood: (Z, sorted (Z, distance) of its neighbors), as a share of the sites."""
    z = graph.token[:, 0].tolist()
    around: list[list[tuple[int, float]]] = [[] for _ in z]
    for s, t, d in zip(*graph.edge_index.tolist(), graph.edge_attr[:, 0].tolist(), strict=True):
        around[t].append((z[s], round(d, 3)))
    return Counter((z[node], *sorted(near)) for node, near in enumerate(around))


@pytest.mark.parametrize("name", CRYSTALS)
def test_20_no_shell_is_cut_so_supercells_and_origins_do_not_matter(name):
    cell = crystal(name)
    model, rng = encoder(), np.random.default_rng(0)
    plain = crystal_graph(cell, cutoff=6.0)
    kinds = {around: count / plain.num_nodes for around, count in surroundings(plain).items()}
    for repeat in ((1, 1, 1), (2, 1, 1), (1, 2, 3), (2, 2, 2)):
        bigger = cell.make_supercell(repeat, in_place=False)
        bigger.translate_sites(range(len(bigger)), rng.random(3), to_unit_cell=bool(rng.random() < 0.5))
        graph = crystal_graph(bigger, cutoff=6.0)
        assert {around: count / graph.num_nodes for around, count in surroundings(graph).items()} == pytest.approx(kinds)
        torch.testing.assert_close(embed(model, graph), embed(model, plain), atol=1e-5, rtol=0)


def test_20_the_three_oxygens_of_a_perovskite_stay_equal_in_its_supercell():
    graph = crystal_graph(crystal("perovskite").make_supercell((2, 1, 1), in_place=False))
    assert len({around for around in surroundings(graph) if around[0] == 8}) == 1
    po = crystal_graph(crystal("simple cubic Po"))
    assert po.num_edges == 18  # six neighbors and the whole second shell of twelve


@pytest.mark.parametrize("seed", range(4))
def test_20_any_crystal_has_the_embedding_of_its_supercell(seed):
    generator, rng, model = torch.Generator().manual_seed(seed), np.random.default_rng(seed), encoder()
    for _ in range(5):
        cell = cell_of(*rng.uniform(3, 5, 3), *rng.uniform(60, 120, 3))
        if cell is None:
            continue
        sites = [[0, 0, 0], [0.5, 0.5, 0], [0.25, 0.1, 0.5]]
        graph = crystal_graph(numbers=rng.integers(1, 60, 3), frac_coords=sites, cell=cell, cutoff=6.0)
        for action in (Supercell(), Translation()):
            torch.testing.assert_close(embed(model, action.apply(graph, generator)), embed(model, graph), atol=1e-5, rtol=0)


def test_21_one_atom_in_a_large_cell_has_no_edge_and_an_embedding():
    graph = crystal_graph(numbers=[1], frac_coords=[[0.3, 0.3, 0.3]], cell=np.eye(3) * 30)
    assert graph.num_edges == 0
    vector = embed(encoder(), graph)
    assert float(vector.norm()) == pytest.approx(1.0)


@pytest.mark.parametrize("modality", ["jet", "event"])
def test_21_padding_makes_no_node_and_no_difference(modality):
    model = JetEncoder(JetConfig(widths=(8, 16), k=4, embedding_dim=8)) if modality == "jet" else ParticleCloudEncoder(
        ParticleCloudConfig(hidden_dim=16, layers=2, heads=4, embedding_dim=8))
    columns = event(7)
    plain = cloud_graph(**columns, modality=modality)
    expected = embed(model.eval(), plain)
    for length in (10, 50, 200):
        padded = {name: torch.cat([column, column.new_zeros(length - 7)]) for name, column in columns.items()}
        graph = cloud_graph(**padded, modality=modality)
        assert graph.num_nodes == 7
        assert graph.notes["padding_dropped"] == length - 7
        assert torch.equal(embed(model, graph), expected)


def test_22_forty_points_inside_the_radius_have_all_their_1560_edges():
    points = numbers(40, 3, seed=3)
    points = points / points.norm(dim=1).max() * 3.9  # no two farther apart than 7.8 Å
    graph = crystal_graph(numbers=[6] * 40, positions=points, cutoff=8.0, neighbors=None)
    assert graph.num_edges == 40 * 39 == 1560


def test_23_a_radius_is_the_radius_used():
    graph = crystal_graph(numbers=[84], frac_coords=[[0, 0, 0]], cell=np.eye(3), cutoff=1.001, neighbors=12)
    assert graph.num_edges == 6
    assert float(graph.edge_attr.max()) <= 1.001


@pytest.mark.parametrize("seed", range(3))
def test_25_every_edge_has_its_reverse_when_all_neighbors_are_kept(seed):
    rng = np.random.default_rng(seed)
    cell = cell_of(*rng.uniform(3, 5, 3), *rng.uniform(70, 110, 3))
    graph = crystal_graph(numbers=[3, 8], frac_coords=[[0, 0, 0], [0.4, 0.5, 0.6]], cell=cell, cutoff=6.0, neighbors=None)
    edges = directed_pairs(graph)
    assert len(edges) == len(set(edges))
    assert {(t, s, -a, -b, -c) for s, t, a, b, c in edges} == set(edges)


def test_25_a_neighbor_at_the_cutoff_counts_both_ways_however_the_crystal_is_turned():
    """Rounding puts such a pair inside or outside of a sharp cutoff, one direction not as the other."""
    for seed in range(10):
        q, _ = torch.linalg.qr(numbers(3, 3, seed=seed))
        shift = numbers(3, seed=seed) * 20
        graph = crystal_graph(numbers=[84], positions=shift.unsqueeze(0), cell=q * 2.5, cutoff=7.5, neighbors=None)
        assert graph.num_edges == 122  # lattice points with 0 < h² + k² + l² ≤ 9


def test_27_a_left_handed_cell_has_the_edges_and_embedding_of_its_mirror():
    right = crystal_graph(numbers=[11, 17], frac_coords=[[0, 0, 0], [0.5, 0.4, 0.3]], cell=cell_of(4, 5, 6, 80, 95, 70), cutoff=6.0)
    swap = [1, 0, 2]
    left = crystal_graph(numbers=[11, 17], frac_coords=torch.tensor([[0, 0, 0], [0.4, 0.5, 0.3]]), cell=right.cell[0][swap], cutoff=6.0)
    assert float(torch.linalg.det(left.cell[0])) < 0 < float(torch.linalg.det(right.cell[0]))
    assert Counter(directed_pairs(left)) == Counter((s, t, b, a, c) for s, t, a, b, c in directed_pairs(right))
    torch.testing.assert_close(embed(encoder(), left), embed(encoder(), right), atol=1e-6, rtol=0)


@pytest.mark.parametrize("axes", list(np.ndindex(2, 2, 2)))
def test_28_each_axis_is_periodic_or_not_by_itself(axes):
    pbc, cell = np.array(axes, dtype=bool), np.array([[3.0, 0.2, 0], [0, 3.5, 0.3], [0.1, 0, 4.0]])
    places = np.array([[0.1, 0.2, 0.3], [1.6, -0.7, 0.5], [0.5, 0.5, 2.2]]) @ cell  # some outside of the cell
    for given in (cell, cell * pbc[:, None]):
        graph = crystal_graph(numbers=[6, 7, 8], positions=places, cell=given, pbc=pbc, cutoff=4.0, neighbors=None)
        assert set(directed_pairs(graph)) == brute_force(places, given, pbc, 4.0)
        assert bool(torch.isfinite(embed(encoder(), graph)).all())


def test_28_a_molecule_has_no_cell_and_needs_none():
    graph = crystal_graph(numbers=[8, 1, 1], positions=[[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    assert graph.num_edges == 6
    assert not graph.cell.any()


def test_29_isolated_nodes_are_ordinary():
    lone = [crystal_graph(numbers=[z], positions=[[0.0, 0, 0]], cell=np.eye(3) * 100) for z in (1, 2, 92)]
    vectors = embed(encoder(), *lone)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3, dtype=torch.float64))
    assert float((vectors[0] - vectors[2]).abs().max()) > 1e-3
    for n in (0, 1):
        cloud = cloud_graph(**event(n))
        assert (cloud.num_nodes, cloud.num_edges) == (n, 0)


def test_30_the_same_site_twice_is_refused_and_twin_particles_are_neighbors():
    with pytest.raises(ValueRangeError, match="Remove the duplicate site, or give partial occupancies"):
        crystal_graph(numbers=[11, 11], frac_coords=[[0.1, 0.1, 0.1]] * 2, cell=np.eye(3) * 4)
    twins = cloud_graph(pt=[5.0] * 6, eta=[0.5] * 6, phi=[1.0] * 6, neighbors=3)
    assert twins.num_edges == 18
    assert not bool((twins.edge_index[0] == twins.edge_index[1]).any())
    assert bool(torch.isfinite(twins.edge_attr).all())


@pytest.mark.parametrize("angle", [0.1, 1.0, math.pi, 3.5, 6.0])
def test_33_a_turned_event_has_the_same_edges_and_embedding(angle):
    columns = event(30, seed=4)
    model = ParticleCloudEncoder(ParticleCloudConfig(hidden_dim=16, layers=2, heads=4, embedding_dim=8)).double().eval()
    plain, turned = cloud_graph(**columns, neighbors=5), cloud_graph(**{**columns, "phi": columns["phi"] + angle}, neighbors=5)
    assert torch.equal(plain.edge_index, turned.edge_index)
    torch.testing.assert_close(plain.edge_attr, turned.edge_attr, atol=1e-5, rtol=0)
    assert float(turned.pos[:, 1].abs().max()) <= math.pi * (1 + 1e-7)
    torch.testing.assert_close(embed(model, plain), embed(model, turned), atol=1e-5, rtol=0)


def test_33_particles_at_both_ends_of_phi_are_the_nearest():
    graph = cloud_graph(pt=[1.0, 1.0, 1.0], eta=[0.0, 0.0, 0.0], phi=[3.1, -3.1, 0.0], neighbors=1)
    assert graph.edge_index.tolist() == [[1, 0, 0], [0, 1, 2]] or graph.edge_index.tolist() == [[1, 0, 1], [0, 1, 2]]
    assert float(graph.edge_attr[0, 0].exp()) == pytest.approx(2 * math.pi - 6.2, abs=1e-5)


def exact_pair(pt_a: float, pt_b: float, eta: tuple[float, float], phi: tuple[float, float]) -> list[float]:
    """The four features from four-vectors in 60 digits."""
    from mpmath import mp

    with mp.workdps(60):
        a, b, ea, eb, fa, fb = map(mp.mpf, (pt_a, pt_b, *eta, *phi))
        dphi = fa - fb - 2 * mp.pi * mp.nint((fa - fb) / (2 * mp.pi))
        delta = mp.sqrt((ea - eb) ** 2 + dphi**2)
        energy = a * mp.cosh(ea) + b * mp.cosh(eb)
        momentum = [a * mp.cos(fa) + b * mp.cos(fb), a * mp.sin(fa) + b * mp.sin(fb), a * mp.sinh(ea) + b * mp.sinh(eb)]
        mass2 = energy**2 - sum(component**2 for component in momentum)
        floor = mp.mpf("1e-8")
        return [float(mp.log(max(value, floor))) for value in (delta, min(a, b) * delta, min(a, b) / (a + b), mass2)]


def test_43_pair_features_from_1e_minus_3_to_1e4_gev_do_not_cancel():
    rng = np.random.default_rng(1)
    n = 200
    pt, eta = 10 ** rng.uniform(-3, 4, (n, 2)), rng.uniform(-5, 5, (n, 2))
    phi = rng.uniform(-math.pi, math.pi, (n, 2))
    near = np.arange(n) % 2 == 0  # half of the pairs are collinear to 1e-4
    eta[near, 1], phi[near, 1] = eta[near, 0] + rng.normal(0, 1e-4, near.sum()), phi[near, 0] + rng.normal(0, 1e-4, near.sum())
    place = torch.tensor(np.stack([eta, phi], -1).reshape(-1, 2))
    pairs = torch.arange(2 * n).view(-1, 2).T
    ours = pair_attr(torch.tensor(pt.reshape(-1)), place, pairs)
    exact = torch.tensor([exact_pair(*p, tuple(e), tuple(f)) for p, e, f in zip(pt, eta, phi, strict=True)])
    torch.testing.assert_close(ours, exact, atol=1e-4, rtol=1e-4)


def test_43_the_mass_of_a_light_pair_at_500_gev_survives_float32():
    """E² − p² in float32 gives 0 here."""
    pt, delta = torch.tensor([500.0]), torch.tensor([2e-4])
    mass2 = pair_features(pt, pt, delta, torch.zeros(1))[0, 3].exp()
    assert float(mass2) == pytest.approx(500**2 * 4e-8, rel=1e-5)


def test_43_a_particle_along_the_beam_overflows_nothing():
    """Generators list beam remnants at |η| of hundreds; float32 ends at sinh² of 44."""
    graph = cloud_graph(pt=[1e-3, 1e4, 50.0], eta=[-700.0, 800.0, 0.0], phi=[0.0, 1.0, 2.0], energy=[1e3, 1e4, 50.0])
    model = ParticleCloudEncoder(ParticleCloudConfig(hidden_dim=16, layers=2, heads=4, embedding_dim=8))
    vector = model(GraphBatch.from_data_list([graph]))
    assert bool(torch.isfinite(graph.edge_attr).all())
    assert vector.detach().norm().item() == pytest.approx(1.0, abs=1e-5)
    vector[0, 0].backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters())


def test_44_every_element_has_a_row_and_nothing_else_has():
    grid = torch.cartesian_prod(*[torch.arange(5)] * 3)[:MAX_Z].double() * 3
    graph = crystal_graph(numbers=range(1, MAX_Z + 1), positions=grid, cutoff=4.0)
    assert float(embed(encoder(), graph).norm()) == pytest.approx(1.0)
    for z in (0, 119, -1):
        with pytest.raises(ValueRangeError, match="expected 1…118"):
            crystal_graph(numbers=[z], positions=[[0, 0, 0]])
        graph = crystal_graph(numbers=[1], positions=[[0.0, 0, 0]])
        graph.token[0, 0] = z
        with pytest.raises(SchemaError, match=r"token.*expected (1…118|≥ 0)"):
            embed(encoder(), graph)


@pytest.mark.parametrize(("column", "value", "match"), [
    ("particle_id", 20, r"cloud: particle_id: found 20 in row 1; expected integers 0…19.*geoembed\.particle_class"),
    ("particle_id", -1, r"found -1 in row 1; expected integers 0…19"),
    ("particle_id", 2.5, r"found 2\.5 in row 1; expected integers"),
    ("charge", 2, r"cloud: charge: found 2 in row 1; expected integers -1…1.*charge in units of e"),
])
def test_44_classes_and_charges_outside_their_range_are_refused(column, value, match):
    columns = {name: values.double() for name, values in event(3).items()}
    columns[column][1] = value
    with pytest.raises(ValueRangeError, match=match):
        cloud_graph(**columns)


@pytest.mark.parametrize("token", [-1, 15, 1000])
def test_44_a_token_outside_the_alphabet_never_reaches_the_embedding_table(token):
    from geoembed.encoders import DNABarcodeConfig, DNABarcodeEncoder

    graph = chain_graph.from_sequence("ACGT")
    graph.token[2, 0] = token
    with pytest.raises(SchemaError, match="token"):
        embed(DNABarcodeEncoder(DNABarcodeConfig(hidden_dim=8, layers=1, heads=2, embedding_dim=4)), graph)
