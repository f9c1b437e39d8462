"""CGConv takes the place of torch-geometric's: its state, its numbers, its options."""

from __future__ import annotations

import pytest
import torch
from geoembed.errors import UnknownNameError
from geoembed.nn import CGConv
from geoembed.ops import ptr_from_sorted, sort_by_target
from torch_geometric.nn import CGConv as PyGConv

FORMS = {
    "plain": ((8,), {}),
    "edge features": ((8, 5), {}),
    "mean": ((8, 5, "mean"), {}),
    "batch norm": ((8, 5), {"batch_norm": True}),
    "no bias": ((8, 5), {"bias": False}),
    "two sets of nodes": (((8, 6), 5, "mean"), {"batch_norm": True}),
}


def pair(form: str, dtype: torch.dtype = torch.float32) -> tuple[CGConv, PyGConv, tuple[object, ...]]:
    """Our layer with the state of theirs, and inputs: 30 nodes, 100 edges in no order, some nodes without one."""
    arguments, options = FORMS[form]
    generator = torch.Generator().manual_seed(0)
    theirs = PyGConv(*arguments, **options).to(dtype)
    ours = CGConv(*arguments, **options).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(30, 8, generator=generator, dtype=dtype)
    nodes = (x, torch.randn(30, 6, generator=generator, dtype=dtype)) if isinstance(arguments[0], tuple) else x
    edge_attr = torch.randn(100, 5, generator=generator, dtype=dtype) if len(arguments) > 1 else None
    return ours, theirs, (nodes, torch.randint(0, 25, (2, 100), generator=generator), edge_attr)


@pytest.mark.parametrize("form", FORMS)
def test_it_loads_the_weights_of_torch_geometric_and_gives_its_output(form):
    ours, theirs, inputs = pair(form)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for train in (True, False):
        expected, found = (layer.train(train)(*inputs).detach() for layer in (theirs, ours))
        assert float((found - expected).norm() / expected.norm()) < 1e-6
    theirs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("form", FORMS)
def test_its_gradients_are_those_of_torch_geometric(form):
    ours, theirs, inputs = pair(form, torch.float64)
    for layer in (ours, theirs):
        layer(*inputs).square().sum().backward()
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, atol=1e-9, rtol=1e-9)


def test_edges_sorted_by_target_with_their_bounds_give_the_same():
    ours, _, (x, edge_index, edge_attr) = pair("edge features", torch.float64)
    ordered, rows = sort_by_target(edge_index, edge_attr)
    found = ours(x, ordered, rows, ptr_from_sorted(ordered[1], 30))
    torch.testing.assert_close(found, ours(x, edge_index, edge_attr), atol=1e-12, rtol=0)


def test_a_node_without_neighbors_keeps_its_features():
    ours, _, (x, _, _) = pair("plain")
    assert torch.equal(ours(x, torch.zeros(2, 0, dtype=torch.int64)), x)


def test_another_way_to_gather_is_refused():
    with pytest.raises(UnknownNameError, match="found max; expected add or mean"):
        CGConv(8, aggr="max")


def test_parameters_can_be_drawn_anew():
    layer = CGConv(8, 5, batch_norm=True)
    before = layer.lin_f.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(before, layer.lin_f.weight)
    assert repr(layer).startswith("CGConv(\n  8, dim=5")
