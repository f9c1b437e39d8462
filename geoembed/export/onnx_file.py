"""An encoder as one ONNX file of standard operators, weights inside, that takes batches of any size."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geoembed import __version__
from geoembed.config import to_json
from geoembed.encoders import Encoder
from geoembed.errors import ConfigError, MissingExtraError
from geoembed.export.examples import example_batch
from geoembed.export.flat import flat_inputs
from geoembed.export.program import SIZES, exported, levels
from geoembed.schema import FIELDS, GraphBatch
from geoembed.store.atomic import replace_with

OPSET = 18
"""Version of the standard operators: the first with all reductions of a scatter."""

LARGEST = 2**31 - 2**24
"""Bytes of weights in one file: a limit of its format, less 16 MiB for the graph."""

OUTPUT = "embedding"


def to_onnx(encoder: Encoder[Any], path: str | Path, example: GraphBatch | None = None) -> dict[str, str]:
    """Write ``encoder`` as ``path``; returns the entries written beside the graph.

    Inputs are the tensors of a flat batch by their names in the contract (:func:`flat_inputs`), with any number of graphs, nodes
    and edges; the output ``embedding`` [graphs, D] has unit length. Half precision is written as float32. The entries name the
    encoder, its configuration and version, whether it is trained, and what each input holds.

    Args:
        example: a batch with the columns and dtypes that the file is to read; by default those of the kind's builder.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ConfigError: the weights exceed what one file may hold.
    """
    translations = _translations()
    whole = copy.deepcopy(encoder).cpu()
    if whole.dtype in (torch.float16, torch.bfloat16):
        whole = whole.float()
    if (size := sum(p.nbytes for p in (*whole.parameters(), *whole.buffers()))) > LARGEST:
        raise ConfigError(where=f"{encoder.name}: weights", found=f"{size:,} bytes", expected=f"at most {LARGEST:,}, for one file",
                          remedy="Use geoembed.export.exported, which has no limit.")
    inputs = flat_inputs(whole, example_batch(whole) if example is None else example)
    with _quiet():
        program = torch.onnx.export(exported(whole, example), dynamo=True, opset_version=OPSET, verbose=False, external_data=False,
                                    optimize=False, custom_translation_table=translations)
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    about = _entries(encoder, inputs)
    _simplify(program.model)
    _finish(program.model, about, inputs)
    replace_with(Path(path), program.model_proto.SerializeToString(deterministic=True))
    return about


def _simplify(model: Any) -> None:
    """Fold constants, drop what is not used, compute what is the same once.

    Not ``onnxscript.optimizer.optimize``: its rules take a constant below 1e-8 for zero, which the floor of a logarithm is not.
    """
    from onnx_ir.passes import Sequential
    from onnx_ir.passes import common as passes
    from onnxscript.optimizer import fold_constants

    common: Any = passes  # of which some are untyped
    common.InlinePass()(model)
    fold_constants(model)
    Sequential(
        common.RemoveUnusedNodesPass(), common.RemoveUnusedFunctionsPass(), common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0), common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(), common.OutputFixPass(), common.NameFixPass(),
    )(model)


def _translations() -> Any:
    try:
        import onnx  # noqa: F401

        from geoembed.export.translations import TABLE
    except ImportError as error:
        raise MissingExtraError(where="to_onnx", found=f"no {error.name}", expected="onnx and onnxscript",
                                remedy="pip install 'geoembed[onnx]'") from error
    return TABLE


def _entries(encoder: Encoder[Any], inputs: dict[str, Tensor]) -> dict[str, str]:
    return {
        "geoembed.encoder": encoder.name, "geoembed.kind": encoder.kind,
        "geoembed.config": json.dumps(json.loads(to_json(encoder.config))), "geoembed.version": __version__,
        "geoembed.trained": json.dumps(encoder.trained), "geoembed.card": json.dumps(encoder.card, ensure_ascii=False),
        "geoembed.inputs": json.dumps(_documented(inputs), ensure_ascii=False),
    }


def _documented(inputs: dict[str, Tensor]) -> dict[str, dict[str, object]]:
    """Shape, dtype and meaning of each input."""
    about: dict[str, dict[str, object]] = {}
    for name, tensor in inputs.items():
        meaning = "bounds of each graph's nodes: 0, n₁, n₁ + n₂, …"
        if name != "ptr":
            field = FIELDS[name]
            meaning = field.meaning + (f"; counted on from the {field.offset} of the graphs before" if field.offset else "")
        about[name] = {"shape": _shape(name, inputs), "dtype": str(tensor.dtype).removeprefix("torch."), "meaning": meaning}
    return about


def _shape(name: str, inputs: dict[str, Tensor]) -> list[int | str]:
    """Shape of an input: numbers of columns, names of the numbers of rows."""
    shape: list[int | str] = list(inputs[name].shape)
    if name == "ptr":
        return ["graphs + 1"]
    shape[FIELDS[name].axis] = SIZES[levels(set(inputs))[name]]
    return shape


def _finish(model: Any, about: dict[str, str], inputs: dict[str, Tensor]) -> None:
    """Name and describe what goes in and out; leave out what the tracer noted about the machine it ran on."""
    graph = model.graph
    _name_sizes(graph, inputs, int(graph.outputs[0].shape[1]))
    model.producer_name, model.producer_version = "geoembed", __version__
    model.doc_string = f"{about['geoembed.encoder']}: graphs of kind {about['geoembed.kind']} to unit vectors"
    model.metadata_props.clear()
    model.metadata_props.update(about)
    graph.name = about["geoembed.encoder"]
    graph.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for value in _values(graph):
        value.metadata_props.clear()
        if value.name == OUTPUT:
            value.name = f"{OUTPUT}_of_part"
    documented = _documented(inputs)
    for value in graph.inputs:
        value.doc_string = str(documented[value.name]["meaning"])
    graph.outputs[0].name = OUTPUT
    graph.outputs[0].doc_string = "vectors of unit length, one a graph; a graph that embeds to zero stays the zero vector"


def _name_sizes(graph: Any, inputs: dict[str, Tensor], width: int) -> None:
    """Call the numbers of graphs, nodes and edges so, where the tracer has numbered symbols; inner shapes are left to the reader."""
    from onnx_ir import Shape

    for value in _values(graph):
        if not value.is_initializer():
            value.shape = None
    for value in graph.inputs:
        value.shape = Shape(_shape(value.name, inputs))
    graph.outputs[0].shape = Shape([SIZES["graph"], width])


def _values(graph: Any) -> Iterator[Any]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph.all_nodes():
        yield from node.outputs


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of libraries that are not installed and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
