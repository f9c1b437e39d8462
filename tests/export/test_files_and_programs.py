"""All encoders as torch programs and as ONNX files, against the encoders themselves."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from export_worlds import TOLERANCE, WORLDS, batch_of, encoder_of, vectors
from geoembed import __version__
from geoembed.config import to_json
from geoembed.export import OPSET, exported, flat_inputs, onnx_file, to_onnx
from torch.export import ExportedProgram

BATCHES = {"one graph": [7], "two graphs": [2, 5], "37 graphs": [2 + i % 9 for i in range(37)]}


def batches(name: str) -> dict[str, list[int]]:
    """Sizes of graphs of which none is that of the example; each odd graph alone, and all of them between others."""
    odd = [-i for i in range(len(WORLDS[name].odd))]
    return BATCHES | {f"odd graph {i}": [size] for i, size in enumerate(odd)} | {"mixed": [6, *odd, 2]}


@cache
def program_of(name: str) -> ExportedProgram:
    return exported(encoder_of(name))


@pytest.mark.parametrize("name", WORLDS)
def test_an_exported_program_gives_the_vectors_of_its_encoder_for_batches_of_any_sizes(name):
    program = program_of(name).module()
    for what, sizes in batches(name).items():
        batch = batch_of(name, sizes)
        out = program(**flat_inputs(encoder_of(name), batch))
        torch.testing.assert_close(out, vectors(name, batch), atol=TOLERANCE, rtol=0, msg=lambda text, what=what: f"{what}: {text}")


@pytest.mark.parametrize("name", WORLDS)
def test_an_exported_program_calls_torch_alone(name):
    spaces = {node.target.namespace for node in program_of(name).graph.nodes if isinstance(node.target, torch._ops.OpOverload)}
    assert spaces == {"aten"}


@pytest.mark.parametrize("name", WORLDS)
def test_an_onnx_file_gives_the_vectors_of_its_encoder_for_batches_of_any_sizes(name, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "exported", lambda *_: program_of(name))  # traced once for all tests
    path = tmp_path / f"{name}.onnx"
    about = to_onnx(encoder_of(name), path)
    assert_is_whole_and_plain(path, name, about)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for what, sizes in batches(name).items():
        batch = batch_of(name, sizes)
        (out,) = session.run(["embedding"], {key: value.numpy() for key, value in flat_inputs(encoder_of(name), batch).items()})
        expected = vectors(name, batch)
        torch.testing.assert_close(torch.from_numpy(out), expected, atol=TOLERANCE, rtol=0, msg=lambda text, what=what: f"{what}: {text}")
        assert bool(((expected.norm(dim=1) - 1).abs().lt(1e-5) | expected.eq(0).all(1)).all())


def assert_is_whole_and_plain(path: Path, name: str, about: dict[str, str]) -> None:
    """Standard operators of one version, weights inside, rows of any number, and all that a reader needs to know."""
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    encoder = encoder_of(name)
    written = {entry.key: entry.value for entry in model.metadata_props}
    assert written == about
    assert (written["geoembed.encoder"], written["geoembed.version"], written["geoembed.trained"]) == (name, __version__, "false")
    assert json.loads(written["geoembed.config"]) == json.loads(to_json(encoder.config))
    inputs = json.loads(written["geoembed.inputs"])
    assert set(inputs) == {*encoder.needs, "ptr"}
    given = {value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in model.graph.input}
    assert given == {key: one["shape"] for key, one in inputs.items()}
    assert given["ptr"] == ["graphs + 1"]
    (output,) = model.graph.output
    assert output.name == "embedding"
    assert [size.dim_param or size.dim_value for size in output.type.tensor_type.shape.dim] == ["graphs", encoder.embedding_dim]
    assert str(Path.home()).encode() not in path.read_bytes()  # nothing of the machine that wrote it
    assert b"site-packages" not in path.read_bytes()
