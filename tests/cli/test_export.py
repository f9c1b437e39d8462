"""``geoembed export`` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest
import torch
from geoembed.cli.app import app
from geoembed.encoders import DNABarcodeConfig, DNABarcodeEncoder, named_encoder
from geoembed.errors import UnknownNameError
from geoembed.export import flat_inputs
from geoembed.graphs.chain import chain_graph
from typer.testing import CliRunner, Result


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_saved_weights_become_a_file_that_gives_their_vectors(tmp_path: Path) -> None:
    encoder = DNABarcodeEncoder(DNABarcodeConfig(hidden_dim=16, layers=1, heads=2, embedding_dim=8)).eval()
    encoder.trained = True
    encoder.save(tmp_path / "weights")
    shown = run("export", str(tmp_path / "weights"), str(tmp_path / "dna.onnx"), "--json")
    document = json.loads(shown.stdout)
    assert (document["encoder"], document["trained"], document["output"]) == ("dna", True, {"embedding": ["graphs", 8]})
    assert document["bytes"] == (tmp_path / "dna.onnx").stat().st_size
    graph = chain_graph.from_sequence("ACGTTGCA")
    inputs = {name: tensor.numpy() for name, tensor in flat_inputs(encoder, graph).items()}
    assert set(inputs) == set(document["inputs"])
    (out,) = onnxruntime.InferenceSession(tmp_path / "dna.onnx").run(["embedding"], inputs)
    torch.testing.assert_close(torch.from_numpy(out), encoder(graph).detach(), atol=1e-5, rtol=0)


def test_a_registered_name_is_that_encoder_with_the_same_random_weights_at_every_call() -> None:
    one, two = named_encoder("jet"), named_encoder("jet")
    assert one.name == "jet"
    assert not one.trained
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Nearest: galaxy"):
        run("export", "galxy", str(tmp_path / "x.onnx"))


def test_the_help_shows_an_example() -> None:
    assert "Example: geoembed export table/encoders/crystal crystal.onnx" in " ".join(run("export", "--help").stdout.split())
