"""The command line: a verb and its object. Nothing heavy is imported before a verb runs."""

from geoembed.cli.app import main

__all__ = ["main"]
