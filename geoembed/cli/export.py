"""``geoembed export``: an encoder as a file that other programs run."""

from __future__ import annotations

from typing import Annotated

import typer

from geoembed.cli.options import AsJson


def export(
    name: Annotated[str, typer.Argument(help="Encoder by name (geoembed list), or name or folder of saved weights.")],
    file: Annotated[str, typer.Argument(help="ONNX file to write; one that is there is replaced.")],
    as_json: AsJson = False,
) -> None:
    """Write an encoder as one ONNX file of standard operators that takes any number of graphs of any sizes.

    Its inputs are the tensors of a batch, named as in a graph; what each of them holds stands in the file. Outputs have unit length.

    Example: geoembed export table/encoders/crystal crystal.onnx
    """
    import json
    from pathlib import Path

    from geoembed.cli.console import console, print_json, quiet_libraries
    from geoembed.cli.console import table as show
    from geoembed.encoders import named_encoder
    from geoembed.export import OPSET, to_onnx

    quiet_libraries()
    encoder = named_encoder(name)
    about = to_onnx(encoder, file)
    size, inputs = Path(file).stat().st_size, json.loads(about["geoembed.inputs"])
    if as_json:
        settings = json.loads(about["geoembed.config"])
        print_json({"file": file, "encoder": encoder.name, "trained": encoder.trained, "config": settings, "opset": OPSET, "bytes": size,
                    "inputs": inputs, "output": {"embedding": ["graphs", encoder.embedding_dim]}})
        return
    rows = [(key, ", ".join(map(str, one["shape"])), one["dtype"], one["meaning"]) for key, one in inputs.items()]
    show(f"{file}: {encoder.name}, opset {OPSET}, {size:,} bytes", ("input", "shape", "dtype", "meaning"), rows)
    console().print(f"Output: embedding, graphs × {encoder.embedding_dim}, of unit length. Inputs are not checked by the file.")
    if not encoder.trained:
        console(stderr=True).print("Weights are random: distances show structure, not learned meaning. Give a folder of trained ones.")
