"""DNA barcodes: gated convolutions over bases, both strands read by the same weights."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from geoembed.config import config
from geoembed.encoders.base import Encoder
from geoembed.graphs.sequence import ALPHABET, COMPLEMENT, COMPOSITION
from geoembed.graphs.symmetries import PermutationOfEdges, PermutationOfNodes, ReverseComplement
from geoembed.graphs.tensors import check_shapes, sequence_batch
from geoembed.nn import AttentionPooling, ChainNetwork, StepBasis, mlp
from geoembed.ops import ptr_from_sorted
from geoembed.schema import GraphBatch


@config
class DNABarcodeConfig:
    """Sizes of :class:`DNABarcodeEncoder`."""

    hidden_dim: PositiveInt = 128
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    longest: PositiveFloat = 32.0
    """Bases: longest scale of the step basis; the shortest is 1."""
    embedding_dim: PositiveInt = 256


class DNABarcodeEncoder(Encoder[DNABarcodeConfig]):
    """A, C, G, T, N and IUPAC codes of any length -> [B, 256].

    A code enters as the mean of the bases it stands for. The opposite strand is the complement of each base with all steps
    negated; the two strands are pooled and summed, so a sequence and its reverse complement have one embedding.
    """

    name, kind, modalities = "dna", "chain", ("sequence",)
    needs = frozenset({"token", "edge_index", "edge_attr"})
    vocabulary = ((0, len(ALPHABET) - 1),)
    symmetries = (PermutationOfNodes(), PermutationOfEdges(), ReverseComplement())
    config_class = DNABarcodeConfig
    composition: Tensor
    complement: Tensor

    def __init__(self, config: DNABarcodeConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.register_buffer("composition", COMPOSITION.clone(), persistent=False)
        self.register_buffer("complement", COMPLEMENT.clone(), persistent=False)
        self.base_embed = nn.Linear(4, c.hidden_dim)
        self.network = ChainNetwork(c.hidden_dim, c.layers, StepBasis(1.0, c.longest))
        self.pool = AttentionPooling(c.hidden_dim, c.heads)
        self.readout = mlp(c.hidden_dim, c.hidden_dim, c.embedding_dim)

    def embed(self, batch: GraphBatch) -> Tensor:
        token, step = batch.token[:, 0], batch.edge_attr.to(self.dtype)
        ptr = ptr_from_sorted(batch.edge_index[1], len(token))
        strands = [
            self.pool(self.network(self.base_embed(self.composition[letters].to(self.dtype)), batch.edge_index, steps, ptr), batch.ptr)
            for letters, steps in ((token, step), (self.complement[token], -step))
        ]
        pooled: Tensor = self.readout(strands[0] + strands[1])
        return pooled

    def from_tensors(self, *tensors: Tensor) -> GraphBatch:
        """tokens [B, T] int64, 0…4 = A, C, G, T, N (and 5…14 the other IUPAC codes) -> batch."""
        check_shapes(self.name, tensors, "B T")
        return sequence_batch(*tensors)
