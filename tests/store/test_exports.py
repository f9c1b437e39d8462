"""A table as AnnData and as a graph of nearest neighbors."""

from __future__ import annotations

import sys

import networkx as nx
import numpy as np
import pytest
from geoembed.errors import MissingExtraError, UnknownNameError, ValueRangeError
from geoembed.schema import Provenance
from geoembed.store import VectorTable, open_table

ROWS = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)


@pytest.fixture
def table(tmp_path):
    with VectorTable(tmp_path) as table:
        for start in range(0, 300, 100):
            table.append(ROWS[start : start + 100], [
                Provenance(kind="cloud", modality="jet", source="a.root", record=str(i), notes={"n": i}) for i in range(start, start + 100)],
                encoder="jet", weights="abc")
            table.flush()
        table.append(np.eye(3), [Provenance(kind="chain", modality="spectrum", source="s.fits", record=str(i)) for i in range(3)],
                     encoder="spectrum", weights="def")
    return open_table(tmp_path)


def test_anndata_holds_the_rows_and_where_they_came_from_and_survives_its_own_file(table, tmp_path):
    anndata = pytest.importorskip("anndata")
    data = table.to_anndata("jet")
    assert np.array_equal(data.X, ROWS)
    assert data.X.dtype == np.float32
    assert list(data.obs.columns) == ["source", "record", "kind", "modality", "notes"]
    assert data.obs["record"].tolist() == data.obs_names.tolist() == [str(i) for i in range(300)]
    assert data.obs.iloc[7].tolist() == ["a.root", "7", "cloud", "jet", '{"n": 7}']
    assert data.uns == {"encoder": "jet", "weights": "abc"}
    data.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert np.array_equal(again.X, ROWS)
    assert again.obs.astype(str).equals(data.obs.astype(str))
    assert again.uns["weights"] == "abc"
    assert table.to_anndata("spectrum").obs["kind"].tolist() == ["chain"] * 3


def test_anndata_of_no_rows_is_empty(tmp_path):
    pytest.importorskip("anndata")
    with VectorTable(tmp_path):
        pass
    assert open_table(tmp_path).to_anndata().shape == (0, 0)


def test_without_anndata_the_extra_is_named(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(MissingExtraError, match=r"geoembed\[anndata\]"):
        table.to_anndata("jet")


@pytest.mark.parametrize("export", ["to_anndata", "to_networkx"])
def test_vectors_of_two_encoders_are_not_mixed(table, export):
    if export == "to_anndata":
        pytest.importorskip("anndata")
    with pytest.raises(UnknownNameError, match="Pass encoder=: jet, spectrum"):
        getattr(table, export)()


@pytest.mark.parametrize("k", [1, 7])
def test_edges_lead_to_the_nearest_rows_by_brute_force(table, k, monkeypatch):
    monkeypatch.setattr("geoembed.store.exports._QUERIES", 64)
    graph = table.to_networkx(k, encoder="jet")
    unit = ROWS.astype(float) / np.linalg.norm(ROWS.astype(float), axis=1, keepdims=True)
    score = unit @ unit.T
    np.fill_diagonal(score, -2)
    assert list(graph) == list(range(300))
    for row in range(300):
        assert set(graph.successors(row)) == set(np.argsort(-score[row])[:k].tolist())
    assert max(abs(score[i, j] - s) for i, j, s in graph.edges(data="score")) < 1e-6
    assert graph.nodes[12] == {"source": "a.root", "record": "12", "kind": "cloud", "modality": "jet"}
    mutual = graph.to_undirected(reciprocal=True)
    assert all(graph.has_edge(i, j) and graph.has_edge(j, i) for i, j in mutual.edges)


def test_a_row_with_many_equals_has_k_neighbors_and_never_itself(tmp_path):
    with VectorTable(tmp_path) as table:
        table.append(np.ones((20, 3)), [Provenance(kind="cloud", record=str(i)) for i in range(20)])
    graph = open_table(tmp_path).to_networkx(4)
    assert nx.number_of_selfloops(graph) == 0
    assert {degree for _, degree in graph.out_degree()} == {4}
    assert sorted(graph.successors(19)) == [0, 1, 2, 3]


def test_few_rows_have_all_others_as_neighbors_and_none_is_asked_for_in_vain(table):
    assert table.to_networkx(10, encoder="spectrum").number_of_edges() == 6
    with pytest.raises(ValueRangeError, match="one neighbor or more"):
        table.to_networkx(0, encoder="jet")
