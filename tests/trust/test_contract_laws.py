"""Each of the fourteen laws catches an encoder that breaks it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from geoembed.encoders import SpeciesConfig, SpeciesImageEncoder
from geoembed.graphs.grid import grid_batch, grid_graph
from geoembed.graphs.patches import grid_topology
from geoembed.graphs.symmetries import PermutationOfEdges, PermutationOfNodes, QuarterTurnsAndFlips
from geoembed.nn import weighted_mean
from geoembed.ops import backends
from geoembed.schema import Graph, GraphBatch
from geoembed.trust import EncoderContract
from torch import Tensor

from generators import numbers

CONFIG = SpeciesConfig(channels=1, patch=4, hidden_dim=8, layers=1, embedding_dim=4, species=2)
LAWS = [name for name in dir(EncoderContract) if name.startswith("test_law_")]


class Whole(SpeciesImageEncoder):
    """Keeps every law."""


class TooLong(SpeciesImageEncoder):
    def forward(self, batch: GraphBatch | Graph) -> Tensor:
        return super().forward(batch) * 1.01


class Random(SpeciesImageEncoder):
    def embed(self, batch: GraphBatch) -> Tensor:
        return super().embed(batch) + 1e-6 * torch.rand(batch.num_graphs, 4)


class FeelsItsBatch(SpeciesImageEncoder):
    def embed(self, batch: GraphBatch) -> Tensor:
        vectors = super().embed(batch)
        return vectors - 0.1 * vectors.mean(0)


class WritesIntoItsInput(SpeciesImageEncoder):
    def embed(self, batch: GraphBatch) -> Tensor:
        batch.pos.add_(1)
        return super().embed(batch)


class ForgetsToDeclareOrder(SpeciesImageEncoder):
    symmetries = (PermutationOfNodes(),)


class FeelsTheForm(SpeciesImageEncoder):
    def embed(self, batch: GraphBatch) -> Tensor:
        return super().embed(batch) + 0.01 * float(batch.stacked)


class ReadsWhatIsHidden(SpeciesImageEncoder):
    def embed(self, batch: GraphBatch) -> Tensor:
        hidden = (batch.x * 0).sum(-1, keepdim=True)  # multiplying by the mask instead of choosing
        return super().embed(batch) + weighted_mean(hidden, batch.ptr, batch.mask | True)


class ClaimsTooMuch(SpeciesImageEncoder):
    symmetries = (PermutationOfNodes(), PermutationOfEdges(), QuarterTurnsAndFlips())


class HasADeadPart(SpeciesImageEncoder):
    def __init__(self, config: SpeciesConfig | None = None) -> None:
        super().__init__(config)
        self.unused = torch.nn.Linear(2, 2)


class RoundsTooEarly(SpeciesImageEncoder):
    def embed(self, batch: GraphBatch) -> Tensor:
        vectors = super().embed(batch)
        return vectors if vectors.dtype == torch.float64 else vectors.bfloat16().to(vectors.dtype)


class KeepsAPartUnsaved(SpeciesImageEncoder):
    def __init__(self, config: SpeciesConfig | None = None) -> None:
        super().__init__(config)
        self.offset = torch.rand(4)

    def embed(self, batch: GraphBatch) -> Tensor:
        return super().embed(batch) + self.offset


class HasASecondWayIn(SpeciesImageEncoder):
    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        return grid_batch(tensors[0].flip(-1), patch=4, mask=tensors[1].flip(-1), modality="photo")


class FailsOnOneNode(SpeciesImageEncoder):
    def embed(self, batch: GraphBatch) -> Tensor:
        alone = batch.ptr.diff() == 1
        return super().embed(batch).where(~alone.unsqueeze(-1), torch.nan)


class FeelsTheBackEnd(SpeciesImageEncoder):
    def embed(self, batch: GraphBatch) -> Tensor:
        return super().embed(batch) + 0.01 * (backends.active() != "torch")


BROKEN: dict[str, tuple[type[SpeciesImageEncoder], ...]] = {
    "01": (TooLong,), "02": (Random,), "03": (FeelsItsBatch, WritesIntoItsInput), "04": (ForgetsToDeclareOrder,), "06": (FeelsTheForm,),
    "07": (ReadsWhatIsHidden,), "08": (ClaimsTooMuch,), "09": (HasADeadPart,), "10": (RoundsTooEarly,), "11": (KeepsAPartUnsaved,),
    "12": (HasASecondWayIn,), "13": (FailsOnOneNode,), "14": (FeelsTheBackEnd,),
}


class Contract(EncoderContract):
    encoder_class: ClassVar[Any] = Whole
    config = CONFIG
    half_precision = 0.3

    def images(self) -> tuple[Tensor, Tensor]:
        return numbers(3, 1, 8, 12), numbers(3, 8, 12, seed=1) > -1

    def graphs(self) -> list[Graph]:
        return [grid_graph(image, patch=4, mask=mask, modality="photo") for image, mask in zip(*self.images(), strict=True)]

    def tensors(self) -> Sequence[Tensor]:
        return self.images()

    def graphs_of_tensors(self) -> list[Graph]:
        return self.graphs()

    def odd_graphs(self) -> list[Graph]:
        return [grid_graph(torch.ones(1, 2, 2), patch=4, modality="photo")]


def contract_of(encoder: type[SpeciesImageEncoder]) -> Contract:
    return type(f"Of{encoder.__name__}", (Contract,), {"encoder_class": encoder})()


@pytest.mark.parametrize("law", LAWS)
def test_an_encoder_that_keeps_a_law_passes_it(law):
    getattr(Contract(), law)()


@pytest.mark.parametrize(("number", "encoder"), [(n, cls) for n, group in BROKEN.items() for cls in group])
def test_an_encoder_that_breaks_a_law_is_caught_by_it(number, encoder, monkeypatch):
    (law,) = [name for name in LAWS if name.startswith(f"test_law_{number}")]
    if number == "14":  # a second back end that runs, wherever the tests run
        reductions = {name: dict(ops) for name, ops in backends._reductions.items()}
        monkeypatch.setattr(backends, "_reductions", {**reductions, "torch_scatter": reductions["torch"]})
        monkeypatch.setattr(backends, "_verdicts", {})
    with pytest.raises(AssertionError):
        getattr(contract_of(encoder), law)()
    grid_topology.cache_clear()  # one of them writes into the topology that all images of this size share


def test_all_fourteen_laws_have_an_encoder_that_breaks_them():
    assert {name.split("_")[2] for name in LAWS} == set(BROKEN)
    assert any("04_and_05" in name for name in LAWS)


def test_a_contract_without_samples_says_what_it_needs():
    with pytest.raises(TypeError, match="EncoderContract must give sample graphs"):
        EncoderContract().graphs()
    with pytest.raises(TypeError, match="must give raw tensors"):
        EncoderContract().tensors()
    with pytest.raises(TypeError, match="must give the builder's graphs"):
        EncoderContract().graphs_of_tensors()
