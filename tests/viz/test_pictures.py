"""Pictures as files: of every kind, small, fast, the same every time, and without a display."""

from __future__ import annotations

import ast
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from geoembed import viz
from geoembed.errors import MissingExtraError, SchemaError
from geoembed.graphs.chain import chain_graph
from geoembed.graphs.grid import grid_graph
from geoembed.schema import Graph, Provenance
from geoembed.viz import draw_graph, draw_map, draw_road, project, save_graph_picture
from geoembed.viz.graphs import LARGEST
from geoembed.viz.overview import Domain, draw_overview
from geoembed.viz.palette import name_of, new_figure, thinned
from viz_graphs import EVERY, letters, photo, salt


def _size(path: Path) -> tuple[int, int]:
    """(width, height) in the header of a PNG."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


@pytest.mark.parametrize("make", EVERY.values(), ids=list(EVERY))
def test_every_kind_of_graph_becomes_a_small_picture(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = save_graph_picture(make(), tmp_path / "new folder" / "picture.png")
    width, height = _size(path)
    assert 360 <= width <= 900
    assert height == pytest.approx(width * 4.7 / 6, abs=1)
    assert path.stat().st_size <= LARGEST


def test_equal_graphs_give_equal_files(tmp_path: Path) -> None:
    first, second = (save_graph_picture(salt(), tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second


def test_a_picture_of_noise_is_written_with_fewer_dots_until_it_is_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((3, 1024, 1024))
    path = save_graph_picture(grid_graph(noise, patch=4, bands=("red", "green", "blue"), modality="photo"), tmp_path / "noise.png")
    assert path.stat().st_size <= LARGEST
    assert _size(path)[0] < 900


def test_a_graph_of_65_thousand_nodes_is_thinned_and_its_title_says_what_is_drawn() -> None:
    ax = new_figure(6, 4).add_subplot()
    draw_graph(chain_graph.from_sequence("ACGT" * 16_250), ax)
    assert "65,000 bases, 649,938 links; bases 1 to 33 drawn" in ax.texts[-1].get_text()


def test_a_kind_without_a_picture_of_its_own_is_laid_out_by_springs() -> None:
    ring = torch.stack([torch.arange(12).roll(1), torch.arange(12)])
    graph = Graph(Provenance(kind="molecular knot", record="trefoil"), num_nodes=12, edge_index=ring)
    ax = new_figure(3, 3).add_subplot()
    draw_graph(graph, ax)
    places = np.asarray(ax.collections[-1].get_offsets())
    link = np.linalg.norm(places - np.roll(places, 1, axis=0), axis=1)
    across = np.linalg.norm(places - np.roll(places, 6, axis=0), axis=1)
    assert link.max() < across.min()  # a ring is drawn as a ring
    assert ax.get_title(loc="left") == "trefoil"


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'geoembed\[plot\]'"):
        save_graph_picture(salt(), tmp_path / "picture.png")


def test_viz_imports_matplotlib_only_when_it_draws_and_never_pyplot() -> None:
    for file in Path(viz.__file__).parent.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        loaded = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not [node for node in loaded if "matplotlib" in ast.unparse(node)]
        assert "pyplot" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(("source", "record", "name"), [
    ("data/NaCl.cif", "NaCl", "NaCl"), ("spec.fits", "COADD", "COADD in spec.fits"), ("scene.tif", "0,0", "scene.tif"),
    ("galaxy.fits.gz", "u+g+r+i+z", "galaxy.fits.gz"), ("jets.parquet", "17", "17 in jets.parquet"), ("", "", "photo"),
])
def test_a_graph_is_called_what_a_person_calls_it(source: str, record: str, name: str) -> None:
    assert name_of(photo().with_provenance(source=source, record=record)) == name


def test_a_long_name_is_cut_in_its_middle() -> None:
    name = name_of(letters().with_provenance(source="x.fasta", record="Lepidoptera" * 20))
    assert len(name) <= 44
    assert name.startswith("Lepidoptera")
    assert name.endswith("x.fasta")


def test_thinning_keeps_both_ends_and_even_steps() -> None:
    kept = thinned(10_001, 101)
    assert (kept[0], kept[-1], set(np.diff(kept).tolist())) == (0, 10_000, {100})


# — maps —


def test_a_map_of_vectors_that_lie_in_a_plane_keeps_all_distances() -> None:
    rng = np.random.default_rng(7)
    flat = rng.normal(size=(30, 2))
    basis = np.linalg.qr(rng.normal(size=(64, 2)))[0]
    vectors = flat @ basis.T + rng.normal(size=64)
    places, share = project(vectors)
    between = [np.linalg.norm(rows[:, None] - rows[None], axis=-1) for rows in (flat, places)]
    np.testing.assert_allclose(*between, atol=1e-10)
    assert share.sum() == pytest.approx(1)
    assert share[0] >= share[1]


def test_a_map_does_not_depend_on_the_order_of_vectors() -> None:
    vectors = np.random.default_rng(8).normal(size=(20, 16))
    order = np.random.default_rng(9).permutation(20)
    np.testing.assert_allclose(project(vectors[order])[0], project(vectors)[0][order], atol=1e-10)


@pytest.mark.parametrize("vectors", [[[1.0, 2.0]], [[1.0, 2.0]] * 3, np.empty((0, 4))], ids=["one", "three alike", "none"])
def test_vectors_that_do_not_differ_lie_in_the_middle_of_the_map(vectors: object) -> None:
    places, share = project(vectors)  # type: ignore[arg-type]
    assert not places.any()
    assert not share.any()


def test_labels_have_marks_of_their_own_beyond_the_colors_of_the_palette() -> None:
    labels = [f"class {i}" for i in range(16)]
    ax = new_figure(4, 4).add_subplot()
    draw_map(np.random.default_rng(1).normal(size=(16, 8)), labels, ax)
    legend = ax.get_legend()
    assert legend is not None
    marks = {(handle.get_color(), handle.get_marker()) for handle in legend.legend_handles}  # type: ignore[union-attr]
    assert len(marks) == 16


def test_a_map_needs_one_label_a_vector() -> None:
    with pytest.raises(SchemaError, match="Give each vector a label"):
        draw_map(np.eye(3), ["a", "b"], new_figure(2, 2).add_subplot())


# — overview and road —


def test_an_overview_has_a_pair_of_panels_a_domain(tmp_path: Path) -> None:
    domains = [Domain(name, graph, np.eye(4), list("aabb"), "encoder") for name, graph in (("salt", salt()), ("photo", photo()))]
    path = draw_overview(domains, tmp_path / "overview.png", remark="Two domains.")
    assert _size(path) == (1980, 335)  # one row of three pairs


def test_the_road_is_drawn_from_real_steps(tmp_path: Path) -> None:
    path = draw_road(tmp_path / "road.png")
    assert _size(path) == (2400, 600)
    assert path.stat().st_size < 400_000
