"""The fourteen laws of an encoder as a test mixin; a plug-in's tests subclass it (no pytest needed to import it)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from geoembed.config import from_json, to_json
from geoembed.encoders import Encoder
from geoembed.errors import GeoembedError
from geoembed.ops import backends
from geoembed.schema import Graph, GraphBatch
from geoembed.trust.invariance import check


class EncoderContract:
    """Subclass with a small ``config`` and sample ``graphs``; every ``test_law_…`` must hold.

    ``encoder_class``, ``config``; ``graphs()`` gives at least three graphs of one topology or none; ``tensors()`` and
    ``graphs_of_tensors()`` give raw tensors and the builder's graphs of the same data; ``odd_graphs()`` gives graphs of one
    node, without edges, empty, where the builder allows them.
    """

    encoder_class: ClassVar[type[Encoder[Any]]]
    config: ClassVar[Any] = None
    single_precision = 1e-4
    half_precision = 0.1
    symmetry_tolerance = 1e-5

    def graphs(self) -> list[Graph]:
        """Sample graphs."""
        raise TypeError(f"{type(self).__name__} must give sample graphs")

    def tensors(self) -> Sequence[Tensor]:
        """Raw tensors for ``from_tensors``."""
        raise TypeError(f"{type(self).__name__} must give raw tensors")

    def graphs_of_tensors(self) -> list[Graph]:
        """The same data through the builder."""
        raise TypeError(f"{type(self).__name__} must give the builder's graphs")

    def odd_graphs(self) -> list[Graph]:
        """Graphs at the border of what is legal."""
        return []

    def make(self) -> Encoder[Any]:
        """A fresh encoder with fixed random weights, evaluation mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return self.encoder_class(self.config).eval()

    def vectors(self, encoder: Encoder[Any], graphs: Sequence[Graph]) -> Tensor:
        """Embeddings of a batch of graphs, without gradients."""
        with torch.no_grad():
            out: Tensor = encoder(GraphBatch.from_data_list(list(graphs)))
            return out

    def test_law_01_vectors_have_unit_length(self) -> None:
        encoder, graphs = self.make(), self.graphs()
        vectors = self.vectors(encoder, graphs)
        _require(vectors.shape == (len(graphs), encoder.embedding_dim), f"shape {tuple(vectors.shape)}")
        _require(_far(vectors.norm(dim=1), torch.ones(len(graphs))) < 1e-5, "lengths differ from 1")

    def test_law_02_the_same_input_gives_the_same_bits(self) -> None:
        encoder, graphs = self.make(), self.graphs()
        _require(torch.equal(self.vectors(encoder, graphs), self.vectors(encoder, graphs)), "two calls differ")

    def test_law_03_a_batch_equals_its_graphs_one_by_one_and_is_left_as_it_was(self) -> None:
        encoder, graphs = self.make().double(), self.graphs()
        before = [_fingerprint(graph) for graph in graphs]
        together = self.vectors(encoder, graphs)
        alone = torch.cat([self.vectors(encoder, [graph]) for graph in graphs])
        backwards = self.vectors(encoder, graphs[::-1]).flip(0)
        _require(_far(together, alone) < 1e-6, f"batch and single differ by {_far(together, alone):.1e}")
        _require(_far(together, backwards) < 1e-6, "the order of a batch matters")
        _require(before == [_fingerprint(graph) for graph in graphs], "the call changed its input")

    def test_law_04_and_05_the_order_of_nodes_and_edges_does_not_matter(self) -> None:
        names = {symmetry.name for symmetry in self.encoder_class.symmetries}
        _require({"PermutationOfNodes", "PermutationOfEdges"} <= names, "the two orders must be declared symmetries")

    def test_law_06_the_shared_form_equals_the_ragged_form(self) -> None:
        encoder = self.make().double()
        batch = GraphBatch.from_data_list(self.graphs())
        again = GraphBatch.from_data_list([graph.with_provenance(topology="") for graph in batch.to_data_list()])
        _require(not again.stacked, "the second form must be flat")
        with torch.no_grad():
            far = max(_far(encoder(batch), encoder(batch.ragged())), _far(encoder(batch), encoder(again)))
        _require(far < 1e-6, f"the forms differ by {far:.1e}")

    def test_law_07_what_is_not_measured_has_no_influence_at_all(self) -> None:
        encoder, graphs = self.make(), self.graphs()
        if "measured" not in graphs[0]:
            return  # this kind has no values that could be missing: absence is absence of the node
        hidden = [~(graph.measured & graph.mask.unsqueeze(-1)) for graph in graphs]
        _require(any(bool(where.any()) for where in hidden), "give sample graphs with something unmeasured")
        plain = self.vectors(encoder, graphs)
        for junk in (torch.nan, torch.inf, -1e30, 7.0):
            changed = [_with_x(graph, graph.x.where(~where, junk)) for graph, where in zip(graphs, hidden, strict=True)]
            _require(torch.equal(plain, self.vectors(encoder, changed)), f"{junk} in an unmeasured entry changed the output")

    def test_law_08_every_declared_symmetry_holds(self) -> None:
        report = check(self.make(), self.graphs(), draws=3, seed=2)
        _require(len(report) > 0 and report.worst < self.symmetry_tolerance, f"\n{report}")

    def test_law_09_gradients_are_finite_and_reach_every_parameter(self) -> None:
        encoder = self.make().train()
        vectors = encoder(GraphBatch.from_data_list(self.graphs()))
        (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
        for name, parameter in encoder.named_parameters():
            if name.split(".")[0] not in encoder.heads:
                reached = parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()) and bool((parameter.grad != 0).any())
                _require(reached, f"{name} gets no finite gradient")

    def test_law_10_precisions_agree(self) -> None:
        graphs = self.graphs()
        exact = self.vectors(self.make().double(), graphs)
        single = self.vectors(self.make(), graphs)
        _require(_far(exact, single) < self.single_precision, f"float32 differs by {_far(exact, single):.1e}")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = self.vectors(self.make(), graphs)
        _require(half.dtype == torch.float32, f"unit vectors in {half.dtype}")
        _require(_far(exact, half) < self.half_precision, f"bf16 differs by {_far(exact, half):.1e}")

    def test_law_11_a_saved_encoder_comes_back_bit_for_bit(self) -> None:
        encoder, graphs = self.make(), self.graphs()
        with tempfile.TemporaryDirectory() as folder:
            encoder.save(folder)
            again = type(encoder).load(folder)
        _require(again.config == encoder.config and again.trained == encoder.trained, "config or state changed")
        _require(torch.equal(self.vectors(encoder, graphs), self.vectors(again, graphs)), "vectors changed")
        _require(from_json(type(encoder.config), to_json(encoder.config)) == encoder.config, "the config does not survive JSON")

    def test_law_12_raw_tensors_equal_the_builder(self) -> None:
        encoder = self.make().double()
        with torch.no_grad():
            raw = encoder(encoder.from_tensors(*self.tensors()))
        far = _far(raw, self.vectors(encoder, self.graphs_of_tensors()))
        _require(far < 1e-5, f"the two ways differ by {far:.1e}")

    def test_law_13_odd_graphs_give_a_vector_or_a_typed_error(self) -> None:
        encoder = self.make()
        for graph in self.odd_graphs():
            try:
                vector = self.vectors(encoder, [graph])
            except GeoembedError:
                continue
            _require(bool(torch.isfinite(vector).all()), f"{graph!r} embeds to {vector}")
            beside = self.vectors(encoder, [graph.with_provenance(topology=""), self.graphs()[0].with_provenance(topology="")])
            _require(_far(beside[:1], vector) < 1e-5, f"{graph!r} depends on its batch")

    def test_law_14_back_ends_agree_with_the_specification(self) -> None:
        encoder, graphs = self.make().double(), self.graphs()
        plain = self.vectors(encoder, graphs)
        for status in backends.report():
            if status.live:
                with backends.use(status.name):
                    far = _far(plain, self.vectors(encoder, graphs))
                _require(far < 1e-8, f"{status.name} differs by {far:.1e}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _far(a: Tensor, b: Tensor) -> float:
    """Largest difference; infinite where one is not finite."""
    difference = (a.double() - b.double()).abs()
    return float(difference.where(torch.isfinite(difference), torch.inf).max()) if difference.numel() else 0.0


def _fingerprint(graph: Graph) -> list[tuple[str, int]]:
    return [(name, hash(value.detach().numpy().tobytes())) for name, value in graph.items() if isinstance(value, Tensor)]


def _with_x(graph: Graph, x: Tensor) -> Graph:
    other = graph.with_provenance()
    other.x = x
    return other
