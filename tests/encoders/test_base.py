"""What all encoders share: the check at the door, saving and loading, statistics, and what they say of themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from geoembed import encoders as e
from geoembed.encoders.base import FORMAT
from geoembed.errors import ConfigError, MissingFieldError, SchemaError, StoreError, ValueRangeError
from geoembed.graphs.grid import grid_graph
from geoembed.schema import GraphBatch
from safetensors.torch import load_file, save_file

from generators import EVERY_KIND, numbers, sample

SMALL = {
    "crystal": e.CrystalGraphEncoder(e.CrystalGraphConfig(hidden_dim=8, layers=1, embedding_dim=4)),
    "jet": e.JetEncoder(e.JetConfig(widths=(8,), k=2, embedding_dim=4)),
    "event": e.ParticleCloudEncoder(e.ParticleCloudConfig(hidden_dim=8, layers=1, heads=2, embedding_dim=4)),
    "image": e.SpeciesImageEncoder(e.SpeciesConfig(channels=2, patch=4, hidden_dim=8, layers=1, embedding_dim=4, species=3)),
    "light_curve": e.TransientLightCurveEncoder(e.TransientConfig(hidden_dim=8, layers=1, heads=2, embedding_dim=4)),
    "spectrum": e.SpectrumEncoder(e.SpectrumConfig(hidden_dim=8, layers=1, heads=2, embedding_dim=4)),
    "sequence": e.DNABarcodeEncoder(e.DNABarcodeConfig(hidden_dim=8, layers=1, heads=2, embedding_dim=4)),
    "field": e.WeatherStateEncoder(
        e.WeatherConfig(levels=1, level_variables=2, surface_variables=0, mesh_level=1, hidden_dim=8, layers=1, embedding_dim=4)),
}
KIND_OF = {name: encoder.kind for name, encoder in SMALL.items()}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    SMALL["crystal"].save(tmp_path / "weights")
    return tmp_path / "weights"


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    document = json.loads(path.read_text())
    for name, value in changes.items():
        document.pop(name) if value is None else document.__setitem__(name, value)
    path.write_text(json.dumps(document))


def test_one_graph_is_a_batch_of_one():
    for name, encoder in SMALL.items():
        graph = sample(name)
        with torch.no_grad():
            assert torch.equal(encoder(graph), encoder(GraphBatch.from_data_list([graph])))


@pytest.mark.parametrize("reader", SMALL)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_an_encoder_reads_its_own_kind_and_refuses_others_with_the_way_to_the_right_one(reader, kind):
    encoder, graph = SMALL[reader], sample(kind)
    if graph.kind != encoder.kind:
        with pytest.raises(SchemaError, match=rf"found graphs of kind '{graph.kind}'; expected '{encoder.kind}'.*geoembed list"):
            encoder(graph)


def test_another_chain_lacks_the_fields_of_this_one():
    with pytest.raises(MissingFieldError, match=r"expected \['mask', 'measured', 'token', 'x'\]|expected \['mask', 'measured', 'x'\]"):
        SMALL["light_curve"](sample("sequence"))
    with pytest.raises(MissingFieldError, match=r"expected \['token'\].*Build the graph with the builder of its kind"):
        SMALL["sequence"](sample("spectrum"))


def test_another_number_of_bands_is_refused_with_both_numbers():
    with pytest.raises(ValueRangeError, match=r"found 48 features a node; expected 32, as configured.*bands and patch"):
        SMALL["image"](grid_graph(numbers(3, 8, 8), patch=4))


def test_a_batch_is_not_changed_by_embedding_it():
    batch = GraphBatch.from_data_list([sample("crystal", 0), sample("crystal", 1)])
    before = {name: value.clone() for name, value in batch.items() if isinstance(value, torch.Tensor)}
    SMALL["crystal"](batch)
    assert {name for name, value in batch.items() if isinstance(value, torch.Tensor)} == set(before)
    assert all(torch.equal(batch[name], value) for name, value in before.items())


def test_an_encoder_says_what_it_is_and_whether_it_was_trained(tmp_path):
    encoder = SMALL["crystal"]
    assert repr(encoder) == f"CrystalGraphEncoder(crystal → [B, 4], {sum(p.numel() for p in encoder.parameters()):,} parameters, untrained: random weights)"
    encoder.save(tmp_path)
    edit(tmp_path, trained=True, card={"data": "made"})
    again = e.CrystalGraphEncoder.load(tmp_path)
    assert again.trained
    assert again.card == {"data": "made"}
    assert repr(again).endswith("parameters, trained)")


def test_a_configuration_of_another_encoder_is_refused():
    with pytest.raises(ConfigError, match=r"JetEncoder: found CrystalGraphConfig; expected JetConfig.*own configuration"):
        e.JetEncoder(e.CrystalGraphConfig())


@pytest.mark.parametrize("name", SMALL)
def test_a_saved_encoder_is_found_by_its_folder_and_gives_the_same_bits(name, tmp_path):
    SMALL[name].save(tmp_path)
    graph = sample(name)  # one object: a matrix product may round by the alignment of its input in memory
    for again in (e.load(tmp_path), type(SMALL[name]).from_pretrained(tmp_path), e.load(str(tmp_path))):
        assert type(again) is type(SMALL[name])
        assert not again.training
        with torch.no_grad():
            assert torch.equal(again(graph), SMALL[name](graph))


def test_a_saved_folder_holds_two_files_and_no_code(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]
    document = json.loads((saved / "config.json").read_text())
    assert document["format"] == FORMAT
    assert document["encoder"] == "crystal"
    assert document["config"]["hidden_dim"] == 8
    assert document["versions"]["torch"] == torch.__version__
    assert b"pickle" not in (saved / "model.safetensors").read_bytes()


@pytest.mark.parametrize("field", ["format", "encoder", "config", "trained", "card"])
def test_61_a_missing_field_of_the_configuration_file_is_named(saved, field):
    edit(saved, **{field: None})
    with pytest.raises(StoreError, match=rf"config\.json: found .*without \['{field}'\]; expected format 1.*version of geoembed"):
        e.load(saved)


@pytest.mark.parametrize("field", ["bond_features", "cutoff", "hidden_dim", "layers", "embedding_dim"])
def test_61_a_missing_setting_is_named_and_never_replaced_by_todays_default(saved, field):
    config = json.loads((saved / "config.json").read_text())["config"]
    config.pop(field)
    edit(saved, config=config)
    with pytest.raises(StoreError, match=rf"config: found no {field}"):
        e.load(saved)


def test_61_an_unknown_setting_and_one_out_of_bounds_are_named(saved):
    config = json.loads((saved / "config.json").read_text())["config"]
    edit(saved, config={**config, "dropout": 0.1})
    with pytest.raises(ConfigError, match=r"CrystalGraphConfig\.dropout: found 0\.1"):
        e.load(saved)
    edit(saved, config={**config, "layers": 0})
    with pytest.raises(ConfigError, match=r"CrystalGraphConfig\.layers: found 0"):
        e.load(saved)


def test_another_format_names_both_numbers(saved):
    edit(saved, format=FORMAT + 1)
    with pytest.raises(StoreError, match=rf"found format {FORMAT + 1}.*expected format {FORMAT}\. Install the version"):
        e.load(saved)


def test_weights_of_another_encoder_are_refused_by_name(saved):
    with pytest.raises(StoreError, match=r"found an encoder 'crystal'; expected 'jet'.*geoembed\.encoders\.load"):
        e.JetEncoder.load(saved)


@pytest.mark.parametrize(("change", "named"), [
    (lambda state: state.pop("edge_embed.bias"), r"edge_embed\.bias"),
    (lambda state: state.update({"extra.weight": torch.zeros(1)}), r"extra\.weight"),
    (lambda state: state.update({"readout.2.bias": torch.zeros(5)}), r"readout\.2\.bias"),
])
def test_tensors_that_do_not_fit_their_configuration_are_named(saved, change, named):
    state = load_file(saved / "model.safetensors")
    change(state)
    save_file(state, saved / "model.safetensors")
    with pytest.raises(StoreError, match=rf"model\.safetensors: found tensors that do not fit: {named}.*belong together"):
        e.load(saved)


@pytest.mark.parametrize(("broken", "match"), [
    (lambda folder: (folder / "config.json").unlink(), "found no config.json; expected a folder written by Encoder.save"),
    (lambda folder: (folder / "config.json").write_text("{"), r"config\.json: found .*no JSON"),
    (lambda folder: (folder / "config.json").write_text("[1]"), r"config\.json: found .*no JSON object"),
    (lambda folder: (folder / "model.safetensors").unlink(), "found no model.safetensors"),
    (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04pickle"), r"model\.safetensors: found .*not a safetensors file"),
    (lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]), "not a safetensors file"),
])
def test_a_broken_folder_of_weights_is_a_typed_error(saved, broken, match):
    broken(saved)
    with pytest.raises(StoreError, match=match):
        e.CrystalGraphEncoder.load(saved)


def test_saving_again_replaces_both_files(saved):
    other = e.CrystalGraphEncoder(e.CrystalGraphConfig(hidden_dim=16, layers=2, embedding_dim=4))
    other.save(saved)
    again = e.load(saved)
    assert again.config.hidden_dim == 16
    assert len(list(saved.iterdir())) == 2


def test_an_encoder_saved_in_double_precision_comes_back_in_double_precision(tmp_path):
    encoder = e.CrystalGraphEncoder(SMALL["crystal"].config).double()
    encoder.save(tmp_path)
    again = e.load(tmp_path)
    assert again.dtype == torch.float64
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again.parameters(), strict=True))
    assert all(p.requires_grad for p in again.parameters())


def test_statistics_are_those_of_the_measured_pixels():
    encoder = e.SpeciesImageEncoder(e.SpeciesConfig(channels=2, patch=4, hidden_dim=8, layers=1, embedding_dim=4, species=3))
    images = numbers(3, 2, 8, 8) * torch.tensor([2.0, 50.0]).view(1, 2, 1, 1) + 7
    mask = numbers(3, 8, 8, seed=1) > -1
    encoder.fit_statistics(GraphBatch.from_data_list([grid_graph(i, patch=4, mask=m) for i, m in zip(images, mask, strict=True)]))
    norm = encoder.network.embedding.norm
    for channel in range(2):
        seen = images[:, channel][mask].float().double()
        assert norm.mean[channel].item() == pytest.approx(seen.mean().item(), rel=1e-5)
        assert norm.scale[channel].item() == pytest.approx(seen.std(correction=0).item(), rel=1e-5)


@pytest.mark.parametrize("name", ["crystal", "event", "light_curve", "sequence"])
def test_a_centered_encoder_embeds_its_sample_around_zero(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        encoder = type(SMALL[name])(SMALL[name].config).double()
    batch = GraphBatch.from_data_list([sample(name, seed) for seed in range(6)])
    encoder.center(batch)
    with torch.no_grad():
        assert float(encoder.embed(batch).mean(0).abs().max()) < 1e-6
        assert float((encoder(batch) @ encoder(batch).T).mean()) < 0.6


def test_graphs_that_all_embed_alike_leave_the_encoder_as_it_was():
    encoder = e.CrystalGraphEncoder(SMALL["crystal"].config)
    before = encoder.readout[-1].bias.clone()
    encoder.center(GraphBatch.from_data_list([sample("crystal")] * 5))
    assert torch.equal(encoder.readout[-1].bias, before)
