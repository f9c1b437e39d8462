"""Group actions keep what they must keep and change what they must change."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from geoembed.errors import GeoembedError
from geoembed.graphs import symmetries as sym
from geoembed.graphs.chain import light_curve_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.crystal import crystal_graph
from geoembed.graphs.grid import grid_graph, image_of
from geoembed.graphs.sequence import ALPHABET, COMPLEMENT
from geoembed.graphs.sphere import sphere_graph
from geoembed.schema import Graph, Provenance, validate
from hypothesis import given
from hypothesis import strategies as st

from generators import EVERY_KIND, crystal, event, numbers, sample

seeds = st.integers(0, 10_000)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distances(graph: Graph) -> list[float]:
    return sorted(graph.edge_attr[:, 0].tolist())


def edges_seen_from_nodes(graph: Graph) -> Counter[tuple[object, ...]]:
    """Edges with what their ends hold instead of their numbers: the graph up to the order of nodes and edges."""
    names = ["pos"] if "token_node" in graph else ["x", "measured", "mask", "token", "pos", "weight", "node_kind"]
    names = [name for name in names if name in graph]
    rows = [tuple(tuple(graph[name][n].flatten().tolist()) for name in names) for n in range(graph.num_nodes)]
    of_edge = [name for name in ("edge_attr", "edge_kind", "edge_shift") if name in graph]
    return Counter(
        (rows[s], rows[t], *(tuple(graph[name][e].flatten().tolist()) for name in of_edge))
        for e, (s, t) in enumerate(graph.edge_index.T.tolist()))


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("action", [sym.PermutationOfNodes(), sym.PermutationOfEdges()], ids=repr)
def test_another_order_is_the_same_graph_in_another_order(kind, action):
    graph = sample(kind, 2)
    others = [validate(action.apply(graph, drawn(seed))) for seed in range(4)]
    assert all(edges_seen_from_nodes(other) == edges_seen_from_nodes(graph) for other in others)
    orders = {tuple(other[name].flatten().tolist()) for other in others for name in ("pos", "edge_index", "edge_attr")}
    assert len(orders) > 3
    assert others[0].provenance.topology == ""


@pytest.mark.parametrize("action", [sym.PermutationOfNodes(), sym.PermutationOfEdges()], ids=repr)
def test_angles_stay_between_their_two_edges(action):
    graph = crystal_graph(crystal("quartz"), cutoff=2.0)
    graph.edge_label = torch.arange(graph.num_edges)
    first, second = torch.cartesian_prod(torch.arange(graph.num_edges), torch.arange(graph.num_edges)).T
    graph.angle_index = torch.stack([first, second])[:, (graph.edge_index[1][first] == graph.edge_index[1][second]) & (first != second)]
    other = validate(action.apply(graph, drawn(0)))
    assert torch.equal(other.edge_label[other.angle_index], graph.angle_index)
    assert not torch.equal(other.angle_index, graph.angle_index)
    assert torch.equal(*other.edge_index[1][other.angle_index])


def test_a_permutation_of_nodes_takes_ragged_species_and_own_fields_along():
    graph = sample("disordered")
    graph.node_label = torch.tensor([10, 20])
    graph.edge_label = torch.arange(graph.num_edges)
    for seed in range(5):
        other = validate(sym.PermutationOfNodes().apply(graph, drawn(seed)))
        iron = int(torch.nonzero(other.node_label == 10)[0, 0])
        assert sorted(other.token[other.token_node == iron, 0].tolist()) == [26, 27]
        assert other.token_weight[other.token_node == iron].sum().item() == pytest.approx(0.8)
        assert torch.equal(other.pos[iron], graph.pos[0])
        assert torch.equal(other.cell, graph.cell)
        assert torch.equal(other.edge_attr, graph.edge_attr[other.edge_label])


@given(seeds)
def test_a_rotation_keeps_distances_and_turns_the_cell(seed):
    graph = crystal_graph(crystal("quartz"), cutoff=4.0)
    other = sym.Rotation().apply(graph, drawn(seed))
    assert distances(other) == pytest.approx(distances(graph), abs=1e-6)
    rotation = torch.linalg.solve(graph.cell[0], other.cell[0])
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(other.pos, graph.pos @ rotation, atol=1e-9, rtol=0)


def test_rotations_are_proper_and_improper_and_cover_the_sphere():
    graph = crystal_graph(crystal("simple cubic Po"))
    turned = [sym.Rotation().apply(graph, drawn(seed)).cell[0] / 3.34 for seed in range(200)]
    assert {round(float(torch.linalg.det(r))) for r in turned} == {-1, 1}
    assert float(torch.stack(turned).mean(0).abs().max()) < 0.15  # Haar: the mean of a matrix element is 0


@given(seeds)
def test_a_translation_moves_every_site_by_one_vector_and_keeps_all_edges(seed):
    graph = sample("crystal")
    other = sym.Translation().apply(graph, drawn(seed))
    shift = other.pos - graph.pos
    torch.testing.assert_close(shift, shift[:1].expand_as(shift), atol=1e-9, rtol=0)
    assert 0 < float(shift.abs().max()) <= 50
    assert distances(other) == pytest.approx(distances(graph), abs=1e-6)


@given(seeds)
def test_a_supercell_has_m_times_the_sites_and_each_has_the_old_coordination(seed):
    graph = sample("disordered")
    other = sym.Supercell().apply(graph, drawn(seed))
    m = other.num_nodes // graph.num_nodes
    assert other.num_nodes == m * graph.num_nodes
    assert abs(float(torch.linalg.det(other.cell[0]) / torch.linalg.det(graph.cell[0]))) == pytest.approx(m)
    assert torch.equal(torch.bincount(other.edge_index[1]), torch.bincount(graph.edge_index[1]).repeat(m))
    assert torch.equal(other.token, graph.token.repeat(m, 1))
    assert torch.equal(other.weight, graph.weight.repeat(m))


def test_a_slab_is_repeated_along_its_periodic_axes_only():
    graph = crystal_graph(numbers=[6], positions=[[0.0, 0, 0]], cell=torch.eye(3) * 3, pbc=[True, True, False])
    sizes = {tuple((sym.Supercell().apply(graph, drawn(seed)).cell[0].diagonal() / 3).round().long().tolist()) for seed in range(30)}
    assert {size[2] for size in sizes} == {1}
    assert len({size[:2] for size in sizes}) > 5


@given(seeds)
def test_another_choice_of_cell_spans_the_same_lattice(seed):
    graph = crystal_graph(crystal("rutile"), cutoff=4.0)
    other = sym.ChoiceOfCell().apply(graph, drawn(seed))
    change = torch.linalg.solve(graph.cell[0].T, other.cell[0].T).T
    assert torch.equal(change, change.round())
    assert abs(float(torch.linalg.det(change))) == pytest.approx(1.0)
    assert distances(other) == pytest.approx(distances(graph), abs=1e-6)


def test_choices_of_cell_include_left_handed_and_sheared_ones():
    graph = crystal_graph(crystal("rutile"), cutoff=3.0)
    cells = [sym.ChoiceOfCell().apply(graph, drawn(seed)).cell[0] for seed in range(40)]
    assert {float(torch.linalg.det(cell)) > 0 for cell in cells} == {True, False}
    assert sum(float((cell - cell.diagonal().diag()).abs().sum()) > 1 for cell in cells) > 10


@given(seeds)
def test_a_shift_of_phi_turns_all_particles_by_one_angle(seed):
    graph = cloud_graph(**event(12), neighbors=3)
    other = sym.ShiftOfPhi().apply(graph, drawn(seed))
    turn = torch.remainder(other.pos[:, 1] - graph.pos[:, 1], 2 * math.pi)
    assert float((turn - turn[0]).abs().min()) == 0
    assert float((torch.remainder(turn - turn[0] + 1, 2 * math.pi) - 1).abs().max()) < 1e-5
    for column in (0, 1, 3):
        torch.testing.assert_close(other.x[:, column], graph.x[:, column])
    assert torch.equal(other.token, graph.token)
    assert torch.equal(other.edge_index, graph.edge_index)


def test_a_shift_of_phi_moves_the_place_of_ready_features_and_not_the_features():
    x = numbers(5, 7).float()
    graph = Graph(Provenance(kind="cloud", modality="jet"), x=x, pos=x[:, :2].clone())
    other = sym.ShiftOfPhi().apply(graph, drawn(1))
    assert torch.equal(other.x, x)
    assert torch.equal(other.pos[:, 0], graph.pos[:, 0])
    step = torch.remainder(other.pos[:, 1] - graph.pos[:, 1], 2 * math.pi)
    torch.testing.assert_close(step, step[:1].expand_as(step), atol=1e-5, rtol=0)
    assert torch.equal(graph.pos, x[:, :2])


@given(seeds)
def test_another_origin_of_time_keeps_steps_values_and_links(seed):
    graph = light_curve_graph([1.25, 2.5, 7.0, 7.0], [20.0, 21.0, 20.5, 19.0], [0.1, math.nan, 0.2, 0.1], passband="grgr")
    other = sym.ShiftOfOrigin().apply(graph, drawn(seed))
    shift = other.pos - graph.pos
    assert torch.equal(shift, shift[:1].expand_as(shift))
    for name in ("x", "measured", "mask", "token", "edge_index", "edge_attr"):
        assert torch.equal(other[name], graph[name]), name


@given(seeds)
def test_a_turned_graph_is_the_graph_of_the_turned_image(seed):
    image = numbers(2, 8, 12).float()
    image[0, :4, :4] = math.nan
    graph = grid_graph(image, patch=4)
    other = sym.QuarterTurnsAndFlips().apply(graph, drawn(seed))
    views = [torch.rot90(view, k, (1, 2)) for view in (image, image.flip(2)) for k in range(4)]
    matching = [view for view in views if view.shape == image_of(other)[0].shape and torch.equal(view.nan_to_num(), image_of(other)[0])]
    assert len(matching) == 1
    again = grid_graph(matching[0], patch=4)
    for name in ("x", "measured", "mask", "pos", "edge_index", "edge_attr"):
        assert torch.equal(other[name], again[name]), name


def test_all_eight_turns_and_flips_are_drawn():
    graph = grid_graph(torch.arange(16.0).view(1, 4, 4), patch=2)
    seen = {tuple(sym.QuarterTurnsAndFlips().apply(graph, drawn(seed)).x.flatten().tolist()) for seed in range(60)}
    assert len(seen) == 8


@given(st.text(ALPHABET, min_size=1, max_size=30))
def test_the_reverse_complement_read_twice_is_the_sequence(text):
    from geoembed.graphs.chain import chain_graph

    graph = chain_graph.from_sequence(text)
    once = sym.ReverseComplement().apply(graph, drawn(0))
    opposite = "".join(ALPHABET[int(COMPLEMENT[ALPHABET.index(c)])] for c in reversed(text))
    assert torch.equal(once.token, chain_graph.from_sequence(opposite).token)
    assert torch.equal(sym.ReverseComplement().apply(once, drawn(0)).token, graph.token)


def field(columns: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    axes = {"lat": torch.linspace(90, -90, 7).double(), "lon": torch.arange(columns).double() * (360 / columns)}
    values = numbers(2, 7, columns)
    values[0, 3, 1] = math.nan
    values[:, 0], values[:, -1] = values[:, 0, :1], values[:, -1, :1]  # a pole is one place
    return values, axes


@given(seeds)
def test_a_turned_field_is_the_graph_of_the_rolled_field(seed):
    values, axes = field(10)
    graph = sphere_graph(values, **axes, level=1)
    other = sym.FifthTurnsOfTheSphere().apply(graph, drawn(seed))
    rolled = [sphere_graph(values.roll(2 * k, dims=-1), **axes, level=1) for k in range(5)]
    matching = [k for k, g in enumerate(rolled) if torch.equal(g.x, other.x) and torch.equal(g.measured, other.measured)]
    assert len(matching) == 1


def test_fifth_turns_reach_all_five_and_refuse_a_grid_that_they_do_not_map_onto_itself():
    graph = sphere_graph(field(10)[0], **field(10)[1], level=1)
    seen = {tuple(sym.FifthTurnsOfTheSphere().apply(graph, drawn(seed)).x[:, 0].tolist()) for seed in range(40)}
    assert len(seen) == 5
    twelve = sphere_graph(field(12)[0], **field(12)[1], level=1)
    with pytest.raises(GeoembedError, match=r"expected .* multiple of 5"):
        sym.FifthTurnsOfTheSphere().apply(twelve, drawn(0))


def test_an_action_names_itself():
    assert sym.Supercell().name == "Supercell"
    assert repr(sym.ShiftOfPhi()) == "ShiftOfPhi()"
