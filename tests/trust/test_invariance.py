"""The measurement of symmetries finds what holds and what does not."""

from __future__ import annotations

import pytest
import torch
from geoembed import trust
from geoembed.encoders import CrystalGraphConfig, CrystalGraphEncoder
from geoembed.graphs.crystal import crystal_graph
from geoembed.graphs.symmetries import PermutationOfNodes, Rotation, Supercell, Translation
from geoembed.ops import segment_mean, segment_sum
from geoembed.schema import GraphBatch
from torch import Tensor, nn

from generators import crystal


class CenterOfMass(nn.Module):
    """Feels rotation and translation, not the order of atoms."""

    symmetries = (PermutationOfNodes(), Rotation())

    def forward(self, batch: GraphBatch) -> Tensor:
        return segment_mean(batch.pos, batch.ptr)


class Count(nn.Module):
    """Feels the size of the cell alone."""

    symmetries = (Supercell(),)

    def forward(self, batch: GraphBatch) -> Tensor:
        return segment_sum(torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(len(batch.pos), 2), batch.ptr)


@pytest.fixture
def graphs():
    return [crystal_graph(crystal(name), cutoff=4.0).with_provenance(record=name) for name in ("quartz", "rutile", "perovskite")]


def test_a_broken_symmetry_is_found_with_its_record_and_a_kept_one_passes(graphs):
    kept, broken = trust.check(CenterOfMass(), graphs, draws=3)
    assert (kept.symmetry, kept.draws) == ("PermutationOfNodes", 9)
    assert kept.worst < 1e-12
    assert broken.symmetry == "Rotation"
    assert broken.worst > 0.5
    assert broken.graph in {"quartz", "rutile", "perovskite"}


def test_the_worst_case_is_the_largest_difference_of_a_component(graphs):
    report = trust.check(Count(), graphs[:1], draws=40)
    assert report.worst == 9 * 26  # nine sites of quartz, 27 cells at most


def test_other_symmetries_than_the_declared_ones_can_be_asked_for(graphs):
    report = trust.check(CenterOfMass(), graphs, symmetries=[Translation()])
    assert [row.symmetry for row in report] == ["Translation"]
    assert report.worst > 1


def test_the_elements_follow_from_the_seed(graphs):
    assert trust.check(CenterOfMass(), graphs, seed=3) == trust.check(CenterOfMass(), graphs, seed=3)
    assert trust.check(CenterOfMass(), graphs, seed=3).worst != trust.check(CenterOfMass(), graphs, seed=4).worst


def test_the_encoder_is_left_as_it_was_and_measured_in_double_precision(graphs):
    encoder = CrystalGraphEncoder(CrystalGraphConfig(hidden_dim=8, layers=1, embedding_dim=4, cutoff=4.0)).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert trust.check(encoder, graphs, draws=2).worst < 1e-6  # distances are stored in float32
    assert encoder.training
    assert encoder.dtype == torch.float32
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_a_report_prints_a_line_a_symmetry(graphs):
    lines = str(trust.check(CenterOfMass(), graphs)).splitlines()
    assert lines[0].split() == ["symmetry", "worst", "deviation", "draws", "graph"]
    assert [line.split()[0] for line in lines[1:]] == ["PermutationOfNodes", "Rotation"]
    assert repr(trust.check(CenterOfMass(), graphs[:1])) == str(trust.check(CenterOfMass(), graphs[:1]))


def test_without_graphs_or_symmetries_nothing_is_claimed(graphs):
    empty = trust.check(CenterOfMass(), [])
    assert [row.draws for row in empty] == [0, 0]
    assert trust.check(CenterOfMass(), graphs, symmetries=[]).worst == 0.0
