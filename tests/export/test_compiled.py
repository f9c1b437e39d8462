"""Compiling once: fault 46, graphs of other sizes that compile anew."""

from __future__ import annotations

import pytest
import torch
from export_worlds import TOLERANCE, WORLDS, batch_of, encoder_of, shapes, vectors
from geoembed.errors import SchemaError
from geoembed.export import compiled
from geoembed.graphs.sphere import sphere_graph
from geoembed.schema import GraphBatch

from generators import numbers


class Counting:
    """A back end that runs graphs as they are and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph, _):
        self.graphs += 1
        return graph


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", WORLDS)
def test_fifty_shapes_of_batches_take_two_compilations_at_most_and_no_graph_break(name):
    count = Counting()
    run = compiled(encoder_of(name), backend=count)  # of a whole graph: a break is an error
    chosen = shapes(name)
    assert len({tuple(sizes) for sizes in chosen}) == 50
    with torch.no_grad():
        for i, sizes in enumerate(chosen):
            batch = batch_of(name, sizes, seed=i)
            torch.testing.assert_close(run(batch), vectors(name, batch), atol=TOLERANCE, rtol=0, msg=lambda text, sizes=sizes: f"{sizes}: {text}")
    assert count.graphs <= 2


@pytest.mark.parametrize("first", ["without edges", "with edges"])
def test_it_does_not_matter_which_batch_comes_first(first):
    count, order = Counting(), [[0], [2], [0, 3, 5], [7]]
    run = compiled(encoder_of("crystal"), backend=count)
    with torch.no_grad():
        for sizes in order if first == "without edges" else order[::-1]:
            torch.testing.assert_close(run(batch_of("crystal", sizes)), vectors("crystal", batch_of("crystal", sizes)), atol=TOLERANCE, rtol=0)
    assert count.graphs <= 2


@pytest.mark.parametrize("name", ["crystal", "dna", "species"])
def test_the_plain_compiler_breaks_at_the_check_alone_and_compiles_once_for_all_sizes_above_one(name):
    count = Counting()
    run = torch.compile(encoder_of(name), dynamic=True, backend=count)
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        for sizes in ([3, 4], [9, 2, 5], [7, 7], [2] * 11):
            batch = batch_of(name, sizes)
            torch.testing.assert_close(run(batch), vectors(name, batch), atol=TOLERANCE, rtol=0)
    assert count.graphs <= 2
    (reason,) = torch._dynamo.utils.counters["graph_break"]
    assert "Encoder.check" in reason


def test_stacked_states_compile_once_whatever_their_number():
    count = Counting()
    run = compiled(encoder_of("weather"), backend=count)
    with torch.no_grad():
        for number in (2, 1, 5):
            fields = [sphere_graph(numbers(3, 3, 6, seed=i), lat=[70.0, 0, -70], lon=torch.arange(6) * 60.0, level=1) for i in range(number)]
            batch = GraphBatch.from_data_list(fields)
            assert batch.stacked
            torch.testing.assert_close(run(batch), vectors("weather", batch), atol=TOLERANCE, rtol=0)
    assert count.graphs == 1


def test_a_compiled_encoder_refuses_what_the_encoder_refuses():
    run = compiled(encoder_of("dna"), backend="eager")
    with pytest.raises(SchemaError, match="geoembed list"):
        run(batch_of("crystal", [3]))


def test_gradients_of_a_compiled_encoder_are_those_of_the_encoder():
    encoder = encoder_of("crystal")
    run, batch = compiled(encoder, backend="eager"), batch_of("crystal", [4, 9])
    found = []
    for call in (run, encoder):
        out = call(batch)
        found.append(torch.autograd.grad((out * torch.arange(out.numel()).view_as(out)).sum(), encoder.readout[0].weight)[0])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)
