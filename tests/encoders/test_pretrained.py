"""Finding encoders: by modality, by name, by folder."""

from __future__ import annotations

import json
from pathlib import Path

import geoembed
import pytest
import torch
from geoembed import encoders as e
from geoembed import registry
from geoembed.encoders import pretrained
from geoembed.errors import UnknownNameError
from geoembed.graphs.grid import grid_graph
from geoembed.io import read
from geoembed.schema import Graph, GraphBatch, Provenance

from generators import numbers, sample

SAMPLES = Path(geoembed.__file__).parent / "samples"
BY_MODALITY = {
    ("grid", "galaxy"): "galaxy", ("grid", "scene"): "satellite", ("grid", "photo"): "species", ("grid", "image"): "species",
    ("grid", "spectrogram"): "bioacoustic", ("chain", "light_curve"): "transient", ("chain", "spectrum"): "spectrum",
    ("chain", "sequence"): "dna", ("sphere", "weather"): "weather", ("crystal", "crystal"): "crystal", ("cloud", "event"): "particle_cloud",
    ("cloud", "jet"): "jet",
}


def of(kind: str, modality: str) -> Graph:
    return Graph(Provenance(kind=kind, modality=modality), x=torch.zeros(1, 1))


@pytest.mark.parametrize(("kind", "modality"), BY_MODALITY)
def test_a_modality_has_its_encoder(kind, modality):
    assert e.encoder_for(of(kind, modality)) == BY_MODALITY[kind, modality]


def test_an_unknown_modality_gets_an_encoder_of_its_kind_and_an_unknown_kind_none():
    classes = registry.load_all("geoembed.encoders")
    assert classes[e.encoder_for(of("grid", "x-ray"))].kind == "grid"
    with pytest.raises(UnknownNameError, match=r"found kind 'torus'; expected a kind of \['chain', 'cloud', 'crystal', 'grid', 'sphere'\]"):
        e.encoder_for(of("torus", ""))


def test_every_modality_is_claimed_by_one_encoder():
    claims = [(cls.kind, modality) for cls in registry.load_all("geoembed.encoders").values() for modality in cls.modalities]
    assert sorted(claims) == sorted(BY_MODALITY)


def test_every_registered_encoder_states_its_registered_name():
    for name, cls in registry.load_all("geoembed.encoders").items():
        assert cls.name == name
        assert cls.config_class() == cls.config_class()


@pytest.mark.parametrize("kind", ["crystal", "event", "jet", "image", "field", "light_curve", "spectrum", "sequence"])
def test_a_default_encoder_fits_its_graphs_and_depends_on_seed_and_graphs_alone(kind):
    graphs = [sample(kind, seed) for seed in range(3)]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    encoder = e.default_encoder(graphs)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are its own
    torch.manual_seed(2)
    again, other = e.default_encoder(graphs), e.default_encoder(graphs, seed=1)
    with torch.no_grad():
        batch = GraphBatch.from_data_list(graphs)
        vectors = encoder(batch)
        assert torch.equal(vectors, again(batch))
        assert not torch.allclose(vectors, other(batch), atol=1e-3)
    assert not encoder.training
    assert not encoder.trained
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3), atol=1e-5, rtol=0)


def test_the_bands_and_patches_of_the_graphs_configure_the_encoder():
    graphs = [grid_graph(numbers(7, 8, 8, seed=s), patch=2, modality="scene") for s in range(2)]
    config = e.default_encoder(graphs).config
    assert (config.channels, config.patch) == (7, 2)
    weather = e.default_encoder([sample("field")]).config
    assert weather.levels * weather.level_variables + weather.surface_variables == 2


def test_the_scale_of_the_input_is_taken_from_the_graphs():
    """Counts of a 16-bit camera and the same in units of 1 embed alike."""
    images = numbers(4, 3, 8, 8).abs()
    small, large = ([grid_graph(image * unit, patch=4, modality="photo") for image in images] for unit in (1.0, 65535.0))
    with torch.no_grad():
        vectors = [e.default_encoder(graphs)(GraphBatch.from_data_list(graphs)) for graphs in (small, large)]
    torch.testing.assert_close(*vectors, atol=1e-4, rtol=0)


def test_an_encoder_is_chosen_by_name_too():
    assert isinstance(e.default_encoder([sample("image")], "bioacoustic"), e.BioacousticEncoder)
    with pytest.raises(UnknownNameError, match=r"found 'bioacustic'; expected one of .*Nearest: bioacoustic"):
        e.default_encoder([sample("image")], "bioacustic")


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two named weights beside each other, as a package of weights gives them."""
    for name in ("jets-small", "jets-large"):
        e.JetEncoder(e.JetConfig(widths=(8,), k=2, embedding_dim=4)).save(tmp_path / name)
    monkeypatch.setattr(pretrained, "weight_names", lambda: {path.name: path for path in sorted(tmp_path.iterdir())})
    return tmp_path


def test_weights_are_found_by_name_by_class_or_without(zoo):
    assert pretrained.find_weights("jets-small") == zoo / "jets-small"
    for encoder in (e.JetEncoder.from_pretrained("jets-small"), e.load("jets-small"), e.load(zoo / "jets-small")):
        assert isinstance(encoder, e.JetEncoder)


def test_an_unknown_name_lists_the_nearest_ones(zoo):
    with pytest.raises(UnknownNameError, match=r"weights: found 'jets-smal'; expected .*Nearest: jets-small, jets-large; geoembed list"):
        e.load("jets-smal")


def test_without_any_weights_the_error_says_so(monkeypatch):
    monkeypatch.setattr(pretrained, "weight_names", dict)
    with pytest.raises(UnknownNameError, match=r"a name of: \(none\)\. Nearest: none"):
        e.CrystalGraphEncoder.from_pretrained("no-such-weights")


def test_named_weights_are_those_of_the_package_and_of_entry_points(tmp_path, monkeypatch):
    class Entry:
        name = "mine"

        @staticmethod
        def load():
            return lambda: tmp_path

    monkeypatch.setattr(pretrained, "entry_points", lambda group: [Entry] if group == "geoembed.weights" else [])
    found = pretrained.weight_names()
    assert found["mine"] == tmp_path
    for name, folder in found.items():
        if name != "mine":
            assert json.loads((folder / "config.json").read_text())["encoder"] in registry.names("geoembed.encoders")


@pytest.mark.parametrize("files", ["photo-*", "scene-*"])
def test_a_default_encoder_does_not_depend_on_the_threads_of_the_process(files):
    graphs = [graph for path in sorted(SAMPLES.glob(files)) for graph in read(path)]
    threads, states = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            states.append(pretrained.default_encoder(graphs).state_dict())
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
