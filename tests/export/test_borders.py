"""What is refused, and what an export leaves as it was."""

from __future__ import annotations

import sys

import onnx
import pytest
import torch
from export_worlds import batch_of, encoder_of, vectors
from geoembed.encoders import DNABarcodeConfig, DNABarcodeEncoder, JetConfig, JetEncoder
from geoembed.errors import ConfigError, MissingExtraError, SchemaError
from geoembed.export import FlatEncoder, example_batch, exported, flat_inputs, onnx_file, to_onnx
from geoembed.ops import segment_mean
from geoembed.schema import Graph, GraphBatch, Provenance
from torch import Tensor

from generators import numbers
from tiny_encoder import Tiny


class Letters(Tiny):
    """Without the notes that its parent takes of every batch: a program holds tensors alone."""

    def embed(self, batch: GraphBatch) -> Tensor:
        return segment_mean(self.letters(batch.token[:, 0]), batch.ptr)


def test_a_plug_in_of_a_known_kind_is_exported_without_an_example():
    encoder = Letters().eval()
    batch = batch_of("dna", [3, 8])
    torch.testing.assert_close(exported(encoder).module()(**flat_inputs(encoder, batch)), encoder(batch))


def test_an_example_of_ones_own_sets_the_columns():
    encoder = JetEncoder(JetConfig(widths=(8,), k=3, embedding_dim=8)).eval()
    ready = [Graph(Provenance(kind="cloud", modality="jet"), x=numbers(n, 7).float(), pos=numbers(n, 2).float()) for n in (4, 6, 3)]
    program = exported(encoder, GraphBatch.from_data_list(ready[:2])).module()
    batch = GraphBatch.from_data_list(ready)
    torch.testing.assert_close(program(**flat_inputs(encoder, batch)), encoder(batch), atol=1e-6, rtol=0)


def test_stacked_states_enter_a_flat_program_one_after_the_other():
    encoder = encoder_of("weather")
    batch = batch_of("weather", [3, 3])
    stacked = GraphBatch.from_data_list([graph.with_provenance(topology="one") for graph in batch.to_data_list()])
    assert stacked.stacked
    torch.testing.assert_close(FlatEncoder(encoder)(**flat_inputs(encoder, stacked)), vectors("weather", batch), atol=1e-6, rtol=0)


def test_half_precision_is_written_as_float32_and_the_encoder_is_left_as_it_was(tmp_path):
    encoder = DNABarcodeEncoder(DNABarcodeConfig(hidden_dim=16, layers=1, heads=2, embedding_dim=8)).bfloat16().train()
    to_onnx(encoder, tmp_path / "half.onnx")
    (output,) = onnx.load(tmp_path / "half.onnx").graph.output
    assert output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert encoder.training
    assert encoder.dtype == torch.bfloat16


def test_weights_that_no_file_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST", 1000)
    with pytest.raises(ConfigError, match=r"Use geoembed.export.exported"):
        to_onnx(encoder_of("dna"), tmp_path / "large.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_library_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'geoembed\[onnx\]'"):
        to_onnx(encoder_of("dna"), tmp_path / "none.onnx")


class Own(Tiny):
    """Reads a field that is no part of the contract."""

    needs = frozenset({"token", "node_charge"})


def test_an_encoder_with_fields_of_its_own_is_refused():
    with pytest.raises(SchemaError, match="cannot be exported"):
        FlatEncoder(Own())


class Kindless(Tiny):
    """Reads graphs that nothing builds."""

    kind = "knot"


def test_a_kind_without_a_builder_asks_for_an_example():
    with pytest.raises(SchemaError, match="batch of your own"):
        example_batch(Kindless())
