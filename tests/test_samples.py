"""The shipped samples: made again they are the same, they are small, all of them can be read, and their physics is right."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from geoembed.io import read
from geoembed.schema import Graph

from make_samples import SAMPLES, make_samples
from sample_files.curves import BALMER, EMISSION
from sample_files.galaxies import light
from sample_files.weather import RADIUS, wave

TEXT = {".cif", ".vasp", ".extxyz", ".csv", ".dat", ".fasta"}
MANY = {  # records of files that hold more than one
    "crystal-molecule-three.extxyz": 3, "dna-barcodes.fasta": 19, "dna-reads.fastq.gz": 6, "event-Zmumu.root": 6, "event-dijet.root": 6,
    "jet-1prong.parquet": 20, "jet-2prong.parquet": 20, "jet-3prong.parquet": 21, "lightcurve-nine.csv": 9, "weather-wave4.nc": 6,
    "weather-wave6.nc": 4,
}


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of samples made now."""
    folder = tmp_path_factory.mktemp("samples")
    make_samples(folder)
    return folder


@pytest.fixture(scope="module")
def shipped() -> dict[str, list[Graph]]:
    """Graphs of every shipped file; nothing may be quarantined."""
    graphs = {}
    for path in sorted(SAMPLES.iterdir()):
        graphs[path.name] = list(read(path, on_error="raise"))
    return graphs


def test_samples_made_again_have_the_names_of_those_shipped(again: Path) -> None:
    assert sorted(path.name for path in again.iterdir()) == sorted(path.name for path in SAMPLES.iterdir())


def test_samples_of_text_are_made_again_byte_by_byte(again: Path) -> None:
    assert [path.name for path in again.iterdir() if path.suffix in TEXT and path.read_bytes() != (SAMPLES / path.name).read_bytes()] == []


def test_samples_of_numbers_are_made_again_value_by_value(again: Path, shipped: dict[str, list[Graph]]) -> None:
    # Their bytes hold versions of libraries, and ROOT the date
    for path in again.iterdir():
        if path.suffix in TEXT:
            continue
        graphs = list(read(path, on_error="raise"))
        assert len(graphs) == len(shipped[path.name])
        for new, old in zip(graphs, shipped[path.name], strict=True):
            assert new.record == old.record
            for name, value in old.items():
                if isinstance(value, torch.Tensor):
                    torch.testing.assert_close(new[name], value, rtol=1e-5, atol=1e-6)


def test_samples_take_less_than_two_megabytes_in_one_folder() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 2_000_000
    assert all(path.is_file() and path.suffix != ".py" for path in SAMPLES.iterdir())


def test_every_sample_is_read_with_the_records_that_it_has(shipped: dict[str, list[Graph]]) -> None:
    assert {name: len(graphs) for name, graphs in shipped.items()} == {name: MANY.get(name, 1) for name in shipped}


def test_samples_show_all_kinds_of_graph_and_all_modalities(shipped: dict[str, list[Graph]]) -> None:
    graphs = [graph for group in shipped.values() for graph in group]
    assert {graph.kind for graph in graphs} == {"crystal", "cloud", "sphere", "grid", "chain"}
    assert {graph.provenance.modality for graph in graphs} == {
        "crystal", "event", "jet", "weather", "galaxy", "scene", "photo", "spectrogram", "light_curve", "spectrum", "sequence"
    }


@pytest.mark.parametrize(("name", "distance", "neighbors"), [
    ("ionic-NaCl", 5.6402 / 2, 6), ("covalent-Si", 5.4310 * math.sqrt(3) / 4, 4), ("covalent-GaAs", 5.6533 * math.sqrt(3) / 4, 4),
    ("ionic-CsCl", 4.1230 * math.sqrt(3) / 2, 8), ("metal-Cu", 3.6149 / math.sqrt(2), 12), ("metal-Fe", 2.8665 * math.sqrt(3) / 2, 8),
    ("covalent-graphite", 2.4640 / math.sqrt(3), 3),
])
def test_the_first_shell_of_a_textbook_crystal_is_where_the_textbook_has_it(
    shipped: dict[str, list[Graph]], name: str, distance: float, neighbors: int
) -> None:
    graph = shipped[f"crystal-{name}.cif"][0]
    first = graph.edge_attr[graph.edge_index[1] == 0, 0].double()
    assert float(first.min()) == pytest.approx(distance, abs=2e-4)
    assert int((first < 1.02 * first.min()).sum()) == neighbors


@pytest.mark.parametrize(("name", "element", "shortest", "longest"), [
    ("oxide-SiO2", 14, 1.60, 1.62), ("oxide-TiO2", 22, 1.94, 1.99), ("oxide-ZnO", 30, 1.96, 2.00), ("oxide-SrTiO3", 22, 1.95, 1.96),
])
def test_oxygen_lies_around_the_cations_at_the_measured_distances(
    shipped: dict[str, list[Graph]], name: str, element: int, shortest: float, longest: float
) -> None:
    graph = shipped[f"crystal-{name}.cif"][0]
    source, target = graph.edge_index
    bonds = graph.edge_attr[(graph.token[source, 0] == 8) & (graph.token[target, 0] == element) & (graph.edge_attr[:, 0] < 2.1), 0]
    assert len(bonds) == {14: 4, 22: 6, 30: 4}[element] * int((graph.token == element).sum())
    assert shortest < float(bonds.min()) <= float(bonds.max()) < longest


@pytest.mark.parametrize(("one", "other"), [("ionic-NaCl.cif", "ionic-NaCl-P1.cif"), ("oxide-TiO2.cif", "oxide-TiO2-P1.cif")])
def test_a_crystal_in_p1_has_the_links_of_the_one_written_with_its_symmetry(
    shipped: dict[str, list[Graph]], one: str, other: str
) -> None:
    lengths = [shipped[f"crystal-{name}"][0].edge_attr[:, 0].sort().values for name in (one, other)]
    torch.testing.assert_close(*lengths)


def test_molecules_have_the_bond_lengths_of_the_gas_phase(shipped: dict[str, list[Graph]]) -> None:
    water, methane, benzene = shipped["crystal-molecule-three.extxyz"]
    assert float(water.edge_attr[:, 0].min()) == pytest.approx(0.958, abs=1e-4)
    assert sorted(methane.edge_attr[methane.edge_index[1] == 0, 0].tolist()) == pytest.approx([1.087] * 4, abs=1e-4)
    carbon = (benzene.token[benzene.edge_index, 0] == 6).all(0)
    assert float(benzene.edge_attr[carbon, 0].min()) == pytest.approx(1.397, abs=1e-4)


def test_the_turned_jet_differs_by_a_constant_angle_only(shipped: dict[str, list[Graph]]) -> None:
    one, other = shipped["jet-3prong.parquet"][:2]
    turn = (other.x[:, 2] - one.x[:, 2]).double()
    assert torch.cos(turn - turn[0]).min() > 1 - 1e-9
    assert float(torch.cos(turn[0])) == pytest.approx(0, abs=1e-5)  # a quarter
    torch.testing.assert_close(one.x[:, [0, 1, 3]], other.x[:, [0, 1, 3]])


def test_jets_carry_the_momentum_of_their_parent(shipped: dict[str, list[Graph]]) -> None:
    for prongs in (1, 2, 3):
        total = [float(graph.x[:, 0].sum()) for graph in shipped[f"jet-{prongs}prong.parquet"]]
        assert 450 <= min(total) <= max(total) <= 650  # splittings share pt and lose none


def test_the_muons_of_a_z_boson_have_its_mass(shipped: dict[str, list[Graph]]) -> None:
    for event in shipped["event-Zmumu.root"]:
        pt, eta, phi = event.x[event.token[:, 0] == 2, :3].double().T
        assert len(pt) == 2
        mass = math.sqrt(float(2 * pt[0] * pt[1] * (torch.cosh(eta[0] - eta[1]) - torch.cos(phi[0] - phi[1]))))
        assert mass == pytest.approx(91.19, abs=1e-3)


@pytest.mark.parametrize("number", [4, 6])
def test_the_wind_of_a_rossby_haurwitz_wave_has_no_divergence(number: int) -> None:
    step = 1e-4
    lat, lon = np.radians(np.array([-63.0, -20, 5, 41, 77]))[:, None], np.radians(np.arange(0, 360, 25.0))[None, :]
    eastward = (wave(lat, lon + step, number, 1.5)[0] - wave(lat, lon - step, number, 1.5)[0]) / (2 * step)
    flow = [wave(lat + move, lon, number, 1.5)[1] * np.cos(lat + move) for move in (-step, step)]
    divergence = (eastward + (flow[1] - flow[0]) / (2 * step)) / (RADIUS * np.cos(lat))
    vorticity_scale = np.abs(eastward).max() / RADIUS
    assert np.abs(divergence).max() < 1e-6 * vorticity_scale


@pytest.mark.parametrize("number", [4, 6])
def test_a_rossby_haurwitz_wave_drifts_as_one_piece(number: int) -> None:
    r, w, turn = number, 7.848e-6, 7.292e-5
    drift = (r * (3 + r) * w - 2 * turn) / ((1 + r) * (2 + r)) * 86400  # rad a day: Haurwitz 1940
    lat, lon = np.radians(np.linspace(-80, 80, 9))[:, None], np.radians(np.arange(0, 360, 10.0))[None, :]
    for later, now in zip(wave(lat, lon, number, 2.0), wave(lat, lon - 2 * drift, number, 0.0), strict=True):
        np.testing.assert_allclose(later, now, rtol=1e-9, atol=1e-9 * np.abs(now).max())


def test_half_the_light_of_a_sersic_profile_is_within_its_effective_radius() -> None:
    radius = np.linspace(1e-3, 4000, 4_000_000)
    flux = light(radius, 10.0, 1.0) * radius  # an exponential disk
    assert flux[radius < 10].sum() / flux.sum() == pytest.approx(0.5, abs=2e-3)


def test_the_turned_galaxy_has_the_pixels_of_the_other(shipped: dict[str, list[Graph]]) -> None:
    one, other = (shipped[f"galaxy-spiral-1{name}.fits.gz"][0].x for name in ("", "-turned"))
    torch.testing.assert_close(one.flatten().sort().values, other.flatten().sort().values)
    assert not torch.equal(one, other)


def test_elliptical_galaxies_are_redder_than_spirals(shipped: dict[str, list[Graph]]) -> None:
    def color(graph: Graph) -> float:
        sky_free = graph.x.reshape(256, 5, 16).sum((0, 2))
        return float(sky_free[1] / sky_free[2])  # g : r

    colors = {name: [color(shipped[f"galaxy-{name}-{i}.fits.gz"][0]) for i in (1, 2, 3)] for name in ("elliptical", "spiral")}
    assert max(colors["elliptical"]) < min(colors["spiral"])


def test_supernovae_rise_faster_than_they_fade(shipped: dict[str, list[Graph]]) -> None:
    for graph in [*shipped["lightcurve-nine.csv"][:3], *shipped["lightcurve-Ia.dat"]]:
        red = graph.token[:, 0] == graph.token[:, 0].mode().values
        time, magnitude = graph.pos[red, 0], graph.x[red, 0]
        peak = magnitude.argmin()
        assert time[peak] - time[0] < 0.5 * (time[-1] - time[peak])


def test_the_star_by_julian_date_is_the_star_by_modified_date(shipped: dict[str, list[Graph]]) -> None:
    one = next(graph for graph in shipped["lightcurve-nine.csv"] if graph.record == "RRLyrae_1")
    other = shipped["lightcurve-by-JD.csv"][0]
    torch.testing.assert_close(other.pos - one.pos, torch.full_like(one.pos, 2400000.5), rtol=0, atol=1e-6)
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.token, other.token)


def test_emission_lines_stand_at_their_rest_wavelengths(shipped: dict[str, list[Graph]]) -> None:
    for number in (1, 2):
        graph = shipped[f"spectrum-galaxy-{number}.fits"][0]
        wavelength = 10 ** graph.pos[:, 0]
        for line in ("[O III] 5007", "Hα"):
            near = (wavelength - EMISSION[line][0]).abs() < 30
            assert float(wavelength[near][graph.x[near, 0].argmax()]) == pytest.approx(EMISSION[line][0], abs=4)


def test_hot_stars_absorb_in_the_balmer_lines(shipped: dict[str, list[Graph]]) -> None:
    graph = shipped["spectrum-star-1.csv"][0]
    wavelength = 10 ** graph.pos[:, 0]
    for line in BALMER.values():
        near = (wavelength - line).abs() < 60
        assert float(wavelength[near][graph.x[near, 0].argmin()]) == pytest.approx(line, abs=8)


def test_vegetation_is_bright_in_the_near_infrared_and_water_is_not(shipped: dict[str, list[Graph]]) -> None:
    def vegetation(name: str) -> float:
        graph = shipped[f"scene-{name}.tif"][0]
        pixels, known = (field.reshape(64, 13, 64) for field in (graph.x, graph.measured))
        red, infrared = (pixels[:, band][known[:, band]].median() for band in (3, 7))
        return float((infrared - red) / (infrared + red))

    assert vegetation("forest-1") > 0.4
    assert abs(vegetation("desert-1")) < 0.3


def test_clouds_of_a_scene_are_not_measured(shipped: dict[str, list[Graph]]) -> None:
    scenes = [graphs[0] for name, graphs in shipped.items() if name.startswith("scene")]
    assert all(0.5 < float(graph.measured.float().mean()) <= 1 for graph in scenes)
    assert min(float(graph.measured.float().mean()) for graph in scenes) < 0.98


def test_the_same_song_as_wav_and_flac_is_one_spectrogram(shipped: dict[str, list[Graph]]) -> None:
    assert torch.equal(shipped["sound-bird-1.wav"][0].x, shipped["sound-bird-1.flac"][0].x)


def test_a_whale_sings_below_a_cricket(shipped: dict[str, list[Graph]]) -> None:
    def loudest_row(name: str) -> float:
        graph = shipped[name][0]
        return float(graph.pos[torch.where(graph.measured, graph.x, 0.0).mean(1).argmax(), 0])

    assert loudest_row("sound-whale-1.flac") < 5 < loudest_row("sound-cricket-1.flac")  # rows of 8 mel bands


def test_barcodes_differ_less_within_a_clade_than_between_clades(shipped: dict[str, list[Graph]]) -> None:
    sequences = {graph.record: graph.token[:, 0] for graph in shipped["dna-barcodes.fasta"] if "opposite" not in graph.record}
    clades = {name: [s for record, s in sequences.items() if record.startswith(name)] for name in ("moth", "beetle", "wasp")}
    within = [float((a != b).float().mean()) for group in clades.values() for a, b in pairwise(group)]
    between = [float((clades[a][0] != clades[b][0]).float().mean()) for a, b in (("moth", "beetle"), ("beetle", "wasp"))]
    assert max(within) < 0.1 < min(between)


def test_the_opposite_strand_is_the_reverse_complement(shipped: dict[str, list[Graph]]) -> None:
    one, other = (graph.token[:, 0] for graph in shipped["dna-barcodes.fasta"][:2])
    assert torch.equal(other, (3 - one).flip(0))  # A, C, G, T are tokens 0…3
