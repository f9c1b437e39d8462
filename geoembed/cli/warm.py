"""A head start: the parsing processes import their libraries while this process imports its own."""

from __future__ import annotations

import sys


def warm_up() -> None:
    """Start the process that parsing workers are forked from; it needs no torch here, and ends with this process."""
    if sys.platform.startswith("linux"):  # elsewhere workers are started one by one
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload(["geoembed.pipeline.worker"])
        forkserver.ensure_running()
