"""Edge lists and neighbor tables are two forms of one thing."""

from __future__ import annotations

import torch
from geoembed.ops import edges_from_table, gather_neighbors, sort_by_target, table_from_edges
from hypothesis import given
from hypothesis import strategies as st

from generators import numbers

edge_lists = st.integers(1, 7).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=20))
)


@given(edge_lists)
def test_a_table_of_edges_gives_the_edges_back_in_order(drawn):
    n, pairs = drawn
    edge_index = torch.tensor(sorted(pairs, key=lambda pair: pair[1]), dtype=torch.int64).view(-1, 2).T
    width = max([0, *[sum(t == node for _, t in pairs) for node in range(n)]])
    sources, numbered = table_from_edges(edge_index, n, width + 1)
    assert torch.equal(edges_from_table(sources), edge_index)
    assert numbered[numbered >= 0].tolist() == list(range(len(pairs)))
    assert torch.equal(numbered >= 0, sources >= 0)
    assert torch.equal(edge_index[0][numbered[numbered >= 0]], sources[sources >= 0])


@given(st.lists(st.lists(st.integers(-1, 4), min_size=3, max_size=3), min_size=1, max_size=6))
def test_every_entry_of_a_table_that_is_not_minus_one_is_an_edge(rows):
    expected = [(source, target) for target, row in enumerate(rows) for source in row if source >= 0]
    assert edges_from_table(torch.tensor(rows)).T.tolist() == [list(pair) for pair in expected]


@given(edge_lists)
def test_sorting_by_target_is_the_stable_sort_of_python_and_takes_the_rows_along(drawn):
    _, pairs = drawn
    edge_index = torch.tensor(pairs, dtype=torch.int64).view(-1, 2).T
    index, number, shift = sort_by_target(edge_index, torch.arange(len(pairs)), torch.arange(len(pairs)).view(-1, 1) * 2)
    expected = sorted(range(len(pairs)), key=lambda e: pairs[e][1])
    assert number.tolist() == expected
    assert shift.flatten().tolist() == [2 * e for e in expected]
    assert index.T.tolist() == [list(pairs[e]) for e in expected]


def test_gathered_neighbors_are_rows_of_x_and_missing_ones_are_marked():
    x, table = numbers(2, 4, 3), torch.tensor([[1, -1], [0, 3], [-1, -1], [2, 1]])
    rows, exists = gather_neighbors(x, table)
    assert exists.squeeze(-1).tolist() == [[True, False], [True, True], [False, False], [True, True]]
    for node, slot in ((0, 0), (1, 0), (1, 1), (3, 0), (3, 1)):
        assert torch.equal(rows[:, node, slot], x[:, table[node, slot]])
