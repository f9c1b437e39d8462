"""Every script of several parts on a small problem: all gates pass, every part leaves rows."""

from __future__ import annotations

from types import ModuleType

import pytest
from benchmarks.ceilings import ceilings
from benchmarks.script import Part, Run
from geoembed import nn

from benchmarks import cgconv, crystal_encoder, mesh, segment

SCRIPTS: tuple[ModuleType, ...] = (crystal_encoder, segment, cgconv, mesh)
CASES = [pytest.param(part, id=f"{script.__name__.split('.')[-1]}-{name}") for script in SCRIPTS for name, part in script.PARTS.items()]
if not hasattr(nn, "CGConv"):
    CASES = [case for case in CASES if "cgconv" not in str(case.id)]


@pytest.fixture(scope="module")
def small() -> Run:
    return Run("cpu", small=True, rounds=1, repeats=2, roofs=ceilings("cpu", quick=True))


@pytest.mark.parametrize("part", CASES)
def test_a_part_measures_ours_within_its_gate(part: Part, small: Run) -> None:
    rows = part(small)
    ran = [row for row in rows if "failure" not in row]
    assert not [row for row in rows if row.get("failed") == "ours"]
    assert ran
    for row in ran:
        assert isinstance(row["ours"], float)
        assert row["ours"] > 0
        assert row["met"] is None
        assert row["bitwise"] is True
        assert str(row["question"]).count(str(row["precision"])) == 1


def test_ragged_degrees_have_as_many_edges_as_twelve_everywhere() -> None:
    even, ragged = (crystal_encoder.crystals(8, "cpu", ragged=flag) for flag in (False, True))
    assert even.edge_index.shape == ragged.edge_index.shape
    degrees = ragged.degrees
    assert (int(degrees.min()), int(degrees.max())) == (4, 20)
    assert bool((ragged.edge_index[1].diff() >= 0).all())
    assert bool((ragged.edge_index[0] // 30 == ragged.edge_index[1] // 30).all())


def test_the_needed_work_of_the_reference_problem_is_563_gflop() -> None:
    data = crystal_encoder.Crystals(*(crystal_encoder.torch.empty(0),) * 4, count=2048)
    models = crystal_encoder.Models.__new__(crystal_encoder.Models)
    models.config, models.data = crystal_encoder.CrystalGraphConfig(), data
    torch = crystal_encoder.torch
    models.data = crystal_encoder.Crystals(torch.empty(61_440), torch.empty(2, 0), torch.empty(737_280, 10), torch.empty(0), 2048)
    models.inputs = (data.numbers, data.edge_index, torch.empty(0, dtype=torch.bfloat16), data.graph)
    flop, _ = models.needed()
    assert flop == pytest.approx(563e9, rel=2e-3)
    training, _ = models.needed(training=True)
    assert training == pytest.approx(2090e9, rel=2e-3)


def test_segments_of_every_kind_share_out_all_rows() -> None:
    for kind in ("fixed", "ragged", "power"):
        sizes = segment.sizes_of(kind, 12_000)
        assert (len(sizes), int(sizes.sum()), int(sizes.min()) >= 0) == (1000, 12_000, True)
    assert int((segment.sizes_of("ragged", 12_000) == 0).sum()) >= 20
    assert int(segment.sizes_of("power", 12_000).max()) > 20 * 12


def test_the_needed_work_of_the_layers_is_that_of_their_products() -> None:
    assert mesh.layer_flop(10_242, 81_900, 512) == pytest.approx(112.7e9, rel=1e-3)
    (narrow, moved), (wide, more) = cgconv.needed(65_536, 64, 41), cgconv.needed(65_536, 128, 16)
    assert (narrow, wide) == (pytest.approx(10.4e9, rel=1e-2), pytest.approx(15.0e9, rel=1e-2))
    assert (moved, more) == (pytest.approx(0.30e9, rel=2e-2), pytest.approx(0.39e9, rel=2e-2))


def test_one_state_on_the_sphere_has_three_edges_from_each_point() -> None:
    run = Run("cpu", small=True, rounds=1, repeats=1, roofs={})
    field = mesh.Weather(run, (19, 36), 2).field
    assert (len(field.values), len(field.mesh), field.bridge.shape[1]) == (19 * 36, 162, 3 * 19 * 36)
    assert int(field.bridge[0].max()) < 19 * 36
    assert int(field.bridge[1].max()) < 162
    assert bool((field.bridge[1].diff() >= 0).all())
    assert bool((field.inner[1].diff() >= 0).all())
