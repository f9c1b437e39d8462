"""Table forms: what a table means, by its columns; see :mod:`geoembed.io.tables`."""
