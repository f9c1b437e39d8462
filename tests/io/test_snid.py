"""SNID templates: an epoch a record, bins without flux masked, and files that contradict their header."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from geoembed.errors import GeoembedError, TruncatedFileError, UnreadableFileError, ValueRangeError
from geoembed.io.reader import stream
from geoembed.io.snid import Snid
from geoembed.schema import Graph

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WAVE = [4000.0, 4400.0, 4840.0, 5324.0]
FLUX = [[0.0, 0.5], [0.25, -0.5], [-0.75, 1.5], [0.5, 0.0]]


def template(flux: list[list[float]] = FLUX, ages: str = "-3.100 12.000", bins: int = 4, epochs: int = 2) -> str:
    rows = "".join(f" {wave:8.2f} " + " ".join(f"{value:8.3f}" for value in row) + "\n" for wave, row in zip(WAVE, flux, strict=False))
    header = f"    {epochs} {bins}   2500.00  10000.00      2     sn1999xx       1.10  Ia-norm     1  2\n"
    return header + "      2  0.7  2  0.8\n" + "      1  2.4720  -0.2611  2.4 -0.1\n      2  2.5453   0.0358 2.5 0.0\n" + f"       0  {ages}\n" + rows


def read(tmp_path: Path, text: str) -> list[Graph]:
    path = tmp_path / "sn1999xx.lnw"
    path.write_text(text)
    assert Snid().can_open(text.encode()[:4096], path.name)
    for record in Snid().records(path):
        if not hasattr(record, "payload"):
            raise record.error
    items = list(stream(path))
    assert all(isinstance(item, Graph) for item in items)
    return items  # type: ignore[return-value]


def test_each_epoch_is_a_spectrum_whose_empty_bins_are_masked(tmp_path: Path) -> None:
    first, second = read(tmp_path, template())
    assert (first.record, second.record) == ("sn1999xx -3.100", "sn1999xx +12.000")
    assert first.mask.tolist() == [False, True, True, True]
    assert second.mask.tolist() == [True, True, True, False]
    assert first.pos.flatten().tolist() == pytest.approx(np.log10(WAVE), abs=1e-9)
    assert first.x[1:, 0].tolist() == pytest.approx([0.5, -1.5, 1.0])  # over the median of |0.25|, |-0.75|, |0.5|
    assert (first.notes["type"], first.notes["age"]) == ("Ia-norm", "-3.100 days from maximum light")


def test_two_epochs_of_one_age_are_two_records(tmp_path: Path) -> None:
    assert [graph.record for graph in read(tmp_path, template(ages="1.0 1.0"))] == ["sn1999xx +1.000", "sn1999xx +1.000#2"]


@pytest.mark.parametrize(("text", "error", "match"), [
    (template(FLUX[:3]), TruncatedFileError, "3 whole rows of fluxes; expected 4 rows of 3 numbers"),
    (template()[:-5], TruncatedFileError, "3 whole rows of fluxes"),
    (template(bins=3), UnreadableFileError, "4 rows of .* expected 3 rows of 3"),
    (template(ages="1.0"), UnreadableFileError, "1 ages; expected 2, one an epoch"),
    (template().replace("0.250", "0.2x0"), UnreadableFileError, "0.2x0.*expected numbers"),
    (template().replace("0.250", "nan"), ValueRangeError, "not finite"),
    (template([[0.0, 1.0]] * 4), GeoembedError, r"\[sn1999xx -3.100\].*none of them good"),
])
def test_templates_that_contradict_themselves_say_so(text: str, error: type[GeoembedError], match: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=match):
        read(tmp_path, text)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_a_real_template_is_read(tmp_path: Path) -> None:
    with tarfile.open(SHARED / "astronomy" / "files.tar.xz") as tar:
        data = tar.extractfile("files/sn2000cu.lnw").read()  # type: ignore[union-attr]
    (tmp_path / "sn2000cu.lnw").write_bytes(data)
    (graph,) = stream(tmp_path / "sn2000cu.lnw")
    assert isinstance(graph, Graph)
    table = np.loadtxt(data.decode().splitlines()[11:])
    assert (graph.record, graph.num_nodes) == ("sn2000cu +7.300", len(table))
    assert graph.mask.tolist() == (table[:, 1] != 0).tolist()
