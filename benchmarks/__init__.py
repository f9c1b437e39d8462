"""Benchmarks: one script a question, each writing ``results/<device>/<script>.json``.

``python -m benchmarks`` (or ``geoembed bench``) lists the questions, ``python -m benchmarks NAME …`` measures some one after the other,
``python -m benchmarks.NAME`` is the script itself. ``python -m benchmarks.compare OLD NEW`` finds regressions, ``python -m
benchmarks.plots`` draws. A new script: a line in :mod:`benchmarks.catalog`; one of several parts, a :func:`benchmarks.script.run_parts`,
and a :func:`benchmarks.contest.contest` for each question, which compares with float64, times in turns and makes the rows.
"""
