"""Fault 17 outside sequences: a compressed stream that breaks keeps its whole records, and makes none shorter."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch
from geoembed import read


@pytest.mark.parametrize("name", ["events.lhe", "crystals.extxyz", "jets.jsonl"])
def test_fault_17_a_compressed_stream_that_breaks_keeps_its_whole_records(tmp_path, name):
    rng = np.random.default_rng(0)
    text = {
        "events.lhe": '<LesHouchesEvents version="3.0">\n<init>\n2212 2212 6500 6500 0 0 0 0 3 1\n1 1 1 1\n</init>\n' + "".join(
            f"<event>\n 1 1 1.0 91 0.007 0.118\n 22 1 1 2 0 0 {x:.9f} 2 3 {x + 5:.9f} 0 0 1\n</event>\n" for x in rng.uniform(1, 99, 400)),
        "crystals.extxyz": "".join(
            f'1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nNa 0 0 {x:.9f}\n' for x in rng.random(400)),
        "jets.jsonl": "".join(json.dumps({"pt": [x, 1.0], "eta": [0.0, x], "phi": [0.5, x]}) + "\n" for x in rng.random(400).tolist()),
    }[name].encode()
    (tmp_path / name).write_bytes(text)
    whole = list(read(tmp_path / name))
    assert len(whole) == 400
    packed = gzip.compress(text, 1)
    (tmp_path / f"{name}.gz").write_bytes(packed[: 2 * len(packed) // 3])
    items = read(tmp_path / f"{name}.gz")
    kept = list(items)
    assert 200 < len(kept) < 300
    assert all(torch.equal(a.pos, b.pos) for a, b in zip(kept, whole, strict=False))
    assert "end-of-stream marker" in items.quarantined[-1].reason
    assert len(items.quarantined) <= 2  # the break, and the record that it tore


def test_fault_17_a_table_whose_stream_breaks_gives_no_shorter_light_curve(tmp_path):
    rows = "".join(f"{i // 20},{i * 1.3:.3f},{20 + i % 7 / 9:.6f},0.1,g\n" for i in range(4000))
    packed = gzip.compress(f"object_id,mjd,mag,magerr,band\n{rows}".encode(), 1)
    (tmp_path / "a.csv.gz").write_bytes(packed[: len(packed) // 2])
    items = read(tmp_path / "a.csv.gz")
    assert list(items) == []
    assert [bad.error for bad in items.quarantined] == ["TruncatedFileError"]
