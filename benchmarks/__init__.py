"""Benchmarks: one script a question, each writing ``results/<device>/<script>.json``. ``python -m benchmarks.pipeline``."""
