"""Precisions: bf16 rows are those of a bf16 model at unit length in float32, and a table says which rows were made how."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import geoembed
import numpy as np
import pytest
import torch
from geoembed.cli.options import PrecisionName
from geoembed.encoders import default_encoder
from geoembed.errors import ConfigError
from geoembed.pipeline import build, embed
from geoembed.pipeline.precision import PRECISIONS, checked, mark, placed, precisions_of, products
from geoembed.schema import GraphBatch
from geoembed.store import open_table

from hostile_files import fasta, folder_of_fasta
from tiny_encoder import Tiny

GPU, CPU = torch.device("cuda"), torch.device("cpu")


def vectors(table: Path) -> np.ndarray:
    return open_table(table).vectors()


def test_bf16_rows_are_those_of_a_bf16_model_and_the_encoder_keeps_its_parameters(tmp_path):
    fasta(tmp_path / "a.fasta", 1, records=9)
    encoder = Tiny()
    report = embed(tmp_path / "a.fasta", encoder, out=tmp_path / "table", precision="bf16")
    assert report.backends["precision"] == "bf16"
    assert encoder.dtype == torch.float32
    rounded = Tiny().to(torch.bfloat16)
    with torch.inference_mode():
        expected = torch.cat([rounded(graph) for graph in geoembed.read(tmp_path / "a.fasta")]).numpy()
    found = vectors(tmp_path / "table")
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=8e-3)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)  # the length is made in float32
    exact = Tiny()(next(iter(geoembed.read(tmp_path / "a.fasta")))).detach().numpy()[0]
    assert 0 < np.abs(found[0] - exact).max() < 0.05


def test_a_table_says_in_which_precision_its_rows_were_made(tmp_path, caplog):
    fasta(tmp_path / "a.fasta", 1, records=3)
    fasta(tmp_path / "b.fasta", 2, records=5)
    embed(tmp_path / "a.fasta", Tiny(), out=tmp_path / "table")
    assert precisions_of(open_table(tmp_path / "table")) == {"fp32": 3}
    with caplog.at_level(logging.WARNING, "geoembed"):
        embed(tmp_path / "b.fasta", Tiny(), out=tmp_path / "table", precision="bf16")
    assert "has 3 rows in fp32; those that come are in bf16" in caplog.text
    table = open_table(tmp_path / "table")
    assert precisions_of(table) == {"fp32": 3, "bf16": 5}
    assert [mark in key for key, mark in zip(table.chunks, ("", "@bf16:"), strict=True)] == [True, True]
    assert embed(tmp_path / "b.fasta", Tiny(), out=tmp_path / "table", precision="bf16").resumed == 5


def test_the_same_inputs_in_another_precision_replace_their_rows(tmp_path):
    folder_of_fasta(tmp_path / "in", 10)
    build(tmp_path / "in", tmp_path / "graphs")
    embed(tmp_path / "graphs", Tiny(), out=tmp_path / "table")
    exact = vectors(tmp_path / "table")
    report = embed(tmp_path / "graphs", Tiny(), out=tmp_path / "table", precision="bf16")
    assert (report.embedded, report.resumed) == (10, 0)
    rounded = vectors(tmp_path / "table")
    assert rounded.shape == exact.shape
    assert 0 < np.abs(rounded - exact).max() < 0.05
    assert precisions_of(open_table(tmp_path / "table")) == {"bf16": 10}
    assert embed(tmp_path / "graphs", Tiny(), out=tmp_path / "table", precision="bf16").resumed == 10


def test_rounding_in_bf16_leaves_a_crystal_where_it_was():
    names = ("crystal-ionic-NaCl.cif", "crystal-covalent-Si.cif", "crystal-metal-Cu.cif")
    graphs = [graph for name in names for graph in geoembed.read(geoembed.sample(name))]
    encoder = default_encoder(graphs, None).eval()
    batch = geoembed.GraphBatch.from_data_list(graphs)
    with torch.inference_mode():
        cosine = (encoder(batch) * placed(encoder, CPU, "bf16")(batch)).sum(1)
    assert float(cosine.min()) > 0.99


def test_an_encoder_that_rounding_turns_is_said_aloud(tmp_path, caplog):
    class Subtle(Tiny):
        """Vectors that hang on the ninth bit of a mantissa."""

        def embed(self, batch: GraphBatch) -> torch.Tensor:
            return super().embed(batch) - 1.0

    fasta(tmp_path / "a.fasta", 1, records=5)
    for encoder, far in ((Tiny(), False), (Subtle(), True)):
        with torch.no_grad():
            encoder.letters.weight.mul_(0.01).add_(float(far))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "geoembed"):
            report = embed(tmp_path / "a.fasta", encoder, out=tmp_path / str(far), precision="bf16")
        assert ("turns vectors: their cosine with those of fp32 is" in caplog.text) is far
        (state,) = report.encoders.values()
        assert "bf16, cosine with fp32 ≥ " in state
        assert (float(state.split("≥ ")[1].split()[0]) < 0.99) is far


def test_a_precision_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    fasta(tmp_path / "a.fasta", 1)
    with pytest.raises(ConfigError, match="one of fp32, tf32, bf16. Name one of them"):
        embed(tmp_path / "a.fasta", Tiny(), out=tmp_path / "t", precision="fp16")
    with pytest.raises(ConfigError, match=r"'tf32' on cpu.*Choose fp32 or bf16, or a CUDA device"):
        embed(tmp_path / "a.fasta", Tiny(), out=tmp_path / "t", device="cpu", precision="tf32")
    assert not (tmp_path / "t").exists() or not list((tmp_path / "t").glob("*.parquet"))
    assert [checked(name, GPU) for name in PRECISIONS] == list(PRECISIONS)
    assert tuple(name.value for name in PrecisionName) == PRECISIONS  # what the command line offers
    assert [mark(checked(name, GPU)) for name in PRECISIONS] == ["", "@tf32", "@bf16"]


@pytest.mark.parametrize("before", [True, False])
def test_products_are_rounded_within_and_the_setting_is_as_before_after(before):
    matmul = torch.backends.cuda.matmul
    had = matmul.allow_tf32
    try:
        matmul.allow_tf32 = before
        for precision, rounds in (("tf32", True), ("fp32", False), ("bf16", False)):
            with pytest.raises(ZeroDivisionError), products(checked(precision, GPU), GPU):
                assert matmul.allow_tf32 is rounds
                raise ZeroDivisionError
            assert matmul.allow_tf32 is before
        with products("fp32", CPU):
            assert matmul.allow_tf32 is before
    finally:
        matmul.allow_tf32 = had


def test_two_processes_make_the_bf16_table_of_one(tmp_path):
    folder_of_fasta(tmp_path / "in", 12)
    build(tmp_path / "in", tmp_path / "graphs")
    settings = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")} | {"OMP_NUM_THREADS": "1"}
    command = ["embed", "graphs", "-o", "two", "--device", "cpu", "--precision", "bf16", "--json"]
    two = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "geoembed", *command]
    done = subprocess.run(two, cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"embedded": 12') == 1
    embed(tmp_path / "graphs", out=tmp_path / "one", device="cpu", precision="bf16")
    assert np.allclose(vectors(tmp_path / "two"), vectors(tmp_path / "one"), atol=1e-6)
    assert precisions_of(open_table(tmp_path / "two")) == {"bf16": 12}
