"""``geoembed list``: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer

from geoembed.cli.options import AsJson

KINDS = ("encoders", "readers", "tables", "kinds", "weights", "samples")


def names(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Registered encoders, readers, table forms, kinds of graph, named weights and shipped samples.

    Example: geoembed list encoders
    """
    from geoembed.cli.console import print_json
    from geoembed.cli.console import table as show
    from geoembed.errors import UnknownNameError

    if kind is not None and kind not in KINDS:
        raise UnknownNameError(where="list", found=repr(kind), expected=f"one of {', '.join(KINDS)}", remedy="Leave it out to see all.")
    found = {name: _listed(name) for name in ((kind,) if kind else KINDS)}
    if as_json:
        print_json(found)
        return
    for name, rows in found.items():
        show(name, ("name", "what it is"), list(rows.items()) or [("(none)", "")])


def _listed(kind: str) -> dict[str, str]:
    """Names with one line each."""
    if kind == "weights":
        from geoembed.encoders import weight_names

        return {name: str(folder) for name, folder in weight_names().items()}
    if kind == "samples":
        from geoembed.io import sample, sample_names

        return {name: f"{sample(name).stat().st_size:,} bytes" for name in sample_names()}
    from geoembed import registry

    described = {}
    for name, thing in registry.load_all(f"geoembed.{kind}").items():
        text = getattr(thing, "__doc__", None) or ""
        described[name] = " ".join(text.split(". ")[0].split()) if isinstance(thing, type) else f"built by {thing.builder!r}"
    return described
