"""Astronomical files that are cut, mutated, repeated, renamed, oversized or too many: faults 1–5, 11, 14, 15 and 65."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import geoembed
import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits
from geoembed.errors import BudgetError, GeoembedError, TruncatedFileError, UnknownNameError
from geoembed.io.csv import Csv
from geoembed.io.fits import Fits
from geoembed.io.record import BadRecord
from geoembed.io.snana import Snana
from geoembed.schema import Graph, validate

TENSORS = ("x", "pos", "token", "measured", "mask", "edge_index", "edge_attr")


def same(one: Graph, other: Graph) -> bool:
    return all(torch.equal(one[name], other[name]) for name in TENSORS if name in one or name in other)


def curve(rows: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    mag = np.round(17 + rng.random(rows), 3)
    return pd.DataFrame({"mjd": 59000.25 + np.arange(rows) * 1.5, "band": list("gri" * rows)[:rows], "mag": mag, "magerr": 0.01 + mag / 1000})


def columns(name: str, **values: object) -> fits.BinTableHDU:
    return fits.BinTableHDU.from_columns([fits.Column(key, "D", array=np.asarray(array)) for key, array in values.items()], name=name)


def write_image(path: Path) -> None:
    fits.PrimaryHDU(np.arange(720, dtype=np.float64).reshape(24, 30)).writeto(path)  # 5760 bytes: no padding


def write_compressed(path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 999, (40, 50)).astype(np.int16)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, compression_type="RICE_1")]).writeto(path)


def write_hcompressed(path: Path) -> None:
    image = np.arange(2000, dtype=np.int16).reshape(40, 50)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, compression_type="HCOMPRESS_1")]).writeto(path)


def write_spectrum(path: Path) -> None:
    flux = 5 + np.sin(np.arange(120))
    coadd = columns("COADD", flux=flux, loglam=3.6 + np.arange(120) / 1e4, ivar=flux)
    fits.HDUList([fits.PrimaryHDU(), coadd, columns("SPECOBJ", Z=[0.1])]).writeto(path)


def write_light_curve(path: Path) -> None:
    unit = columns("LIGHTCURVE", TIME=np.arange(90.0), PDCSAP_FLUX=1e6 + np.arange(90), PDCSAP_FLUX_ERR=np.full(90, 9.0))
    fits.HDUList([fits.PrimaryHDU(header=fits.Header({"TELESCOP": "TESS"})), unit]).writeto(path)


def write_csv(path: Path) -> None:
    curve().to_csv(path, index=False, lineterminator="\n")


def write_snana(path: Path) -> None:
    rows = "".join(f"OBS: {59000 + i}.25 {'griz'[i % 4]} NULL {100 + i}.5 2.25\n" for i in range(20))
    path.write_text(f"SURVEY: DES\nSNID: 17\nFILTERS: griz\nNOBS: 20\nVARLIST: MJD FLT FIELD FLUXCAL FLUXCALERR\n{rows}END:\n")


FILES: dict[str, Callable[[Path], None]] = {
    "image.fits": write_image, "rice.fits.fz": write_compressed, "hcompress.fits": write_hcompressed, "spectrum.fits": write_spectrum,
    "lightcurve.fits": write_light_curve, "star.csv": write_csv, "supernova.dat": write_snana,
}


@pytest.fixture(params=list(FILES))
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    FILES[request.param](path)
    return path


# --- 3: cut files -------------------------------------------------------------------------------------------------------------


def test_a_cut_file_never_reads_as_a_shorter_record(sample: Path) -> None:
    """A text table declares no length: cut in its last field it is read, with the note that its last line has no end."""
    content = sample.read_bytes()
    [whole] = geoembed.read(sample, on_error="raise")
    for cut in (len(content) // 3, len(content) // 2, len(content) - 1):
        sample.write_bytes(content[:cut])
        reading = geoembed.read(sample)
        for graph in reading:
            assert graph.num_nodes == whole.num_nodes or graph.notes["no_final_newline"], f"cut at {cut} of {len(content)}"
        assert len(reading.quarantined) == 1 or cut == len(content) - 1 or sample.suffix == ".csv"


def test_an_image_that_misses_its_last_byte_is_cut(tmp_path: Path) -> None:
    write_image(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    assert len(content) == 2880 + 24 * 30 * 8
    (tmp_path / "a.fits").write_bytes(content[:-1])
    with pytest.raises(TruncatedFileError, match="5759 bytes of data in HDU 0; expected 5760.*Fetch the file again"):
        list(geoembed.read(tmp_path / "a.fits", on_error="raise"))


@pytest.mark.parametrize("name", ["image.fits", "spectrum.fits"])
def test_wherever_a_fits_file_is_cut_in_its_data_or_headers_it_says_so(name: str, tmp_path: Path) -> None:
    FILES[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    [whole] = geoembed.read(tmp_path / name, on_error="raise")
    for cut in range(1000, len(content), 733):
        (tmp_path / name).write_bytes(content[:cut])
        reading = geoembed.read(tmp_path / name)
        assert all(same(graph, whole) for graph in reading), cut  # at most the padding is gone
        assert reading.records_in == 1


def test_wherever_a_table_is_cut_in_a_row_it_says_so(tmp_path: Path) -> None:
    """Only in its last field can a row be cut unseen; the note says that the end of the line is missing."""
    path = tmp_path / "a.csv"
    write_csv(path)
    content = path.read_bytes()
    for cut in range(30, len(content), 2):
        path.write_bytes(content[:cut])
        reading = geoembed.read(path)
        noted = [graph.notes.get("no_final_newline", False) for graph in reading]
        line = content[:cut].rpartition(b"\n")[2]
        if line == b"":
            assert noted == [False]
        elif line.count(b",") < 3:
            assert [bad.error for bad in reading.quarantined] == ["TruncatedFileError"]
        else:
            assert noted == [True] or len(reading.quarantined) == 1


# --- 4: mutated files ---------------------------------------------------------------------------------------------------------


def mutated(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 9])):
        place = rng.randrange(min(len(changed), rng.choice([1000, 9000, len(changed)])))
        action = rng.randrange(4)
        if action < 2:
            changed[place] = rng.randrange(256)
        elif action == 2:
            del changed[place : place + rng.randrange(1, 80)]
        else:
            changed[place:place] = rng.randbytes(rng.randrange(1, 20))
    return bytes(changed)


def test_a_mutated_file_raises_typed_errors_only(sample: Path) -> None:
    """The reader itself is called, without the front door that would type whatever it raises."""
    reader = Snana() if sample.suffix == ".dat" else Csv() if sample.suffix == ".csv" else Fits()
    content, rng, refused = sample.read_bytes(), random.Random(20), 0
    for _ in range(100):
        sample.write_bytes(mutated(content, rng))
        start = time.monotonic()
        try:
            for record in reader.records(sample):
                if isinstance(record, BadRecord):
                    raise record.error
                validate(reader.to_graph(record))
        except GeoembedError:
            refused += 1
        assert time.monotonic() - start < 5
    assert refused > 20  # the mutations do harm


# --- 1, 2: many files ---------------------------------------------------------------------------------------------------------


def test_broken_files_cost_themselves_and_each_has_a_reason(tmp_path: Path) -> None:
    reasons: list[str] = []
    graphs = records = 0
    for number in range(40):
        path = tmp_path / f"{number}.fits"
        write_light_curve(path)
        content = path.read_bytes()
        broken = {0: b"", 3: content[:2880], 17: content[: len(content) // 2], 25: content.replace(b"TIME", b"TOME"), 39: b"not a table"}
        path.write_bytes(broken.get(number, content))
        reading = geoembed.read(path)
        graphs += len(list(reading))
        records += reading.records_in
        reasons += [bad.reason for bad in reading.quarantined]
    assert (records, graphs, len(reasons)) == (40, 35, 5)
    assert len({reason.partition(": found")[2] for reason in reasons}) == 5
    assert all(str(tmp_path) in reason for reason in reasons)


# --- 5, 11: numbers that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["flux", "loglam", "ivar"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinity_in_a_spectrum_is_refused_by_name_unless_it_is_masked(column: str, value: float, tmp_path: Path) -> None:
    values = {"flux": np.ones(9), "loglam": 3.6 + np.arange(9) / 100, "ivar": np.ones(9)}
    values[column][4] = value
    fits.HDUList([fits.PrimaryHDU(), columns("COADD", **values)]).writeto(tmp_path / "a.fits")
    reading = geoembed.read(tmp_path / "a.fits")
    graphs = list(reading)
    if column == "ivar":  # an error of zero, or of no size, is a pixel that was not measured
        assert graphs[0].mask.tolist() == [True] * 4 + [False] + [True] * 4
    else:
        assert (len(graphs), [bad.error for bad in reading.quarantined]) == (0, ["ValueRangeError"])
        assert ("flux" if column == "flux" else "loglam") in reading.quarantined[0].reason


@pytest.mark.parametrize("hide", ["ivar 0", "ivar NaN", "flux NaN"])
def test_a_masked_pixel_of_a_spectrum_has_no_influence_at_all(hide: str, tmp_path: Path) -> None:
    found = []
    for number, value in enumerate((1.0, -1e36, 4e8)):
        flux, ivar = np.linspace(1, 2, 50), np.ones(50)
        flux[20] = np.nan if hide == "flux NaN" else value
        ivar[20] = {"ivar 0": 0.0, "ivar NaN": np.nan}.get(hide, abs(value))
        path = tmp_path / f"{number}.fits"
        fits.HDUList([fits.PrimaryHDU(), columns("COADD", flux=flux, loglam=3.6 + np.arange(50) / 1e3, ivar=ivar)]).writeto(path)
        found += list(geoembed.read(path, on_error="raise"))
    assert same(found[0], found[1])
    assert same(found[0], found[2])


# --- 14: byte order and handles -----------------------------------------------------------------------------------------------

_HANDLES = """
import os, resource, sys, warnings
warnings.simplefilter("ignore")
import geoembed
from pathlib import Path
files = sorted(Path(sys.argv[1]).glob("*.fits*"))
list(geoembed.read(files[0], on_error="raise"))
def maps(): return sum(".fits" in line for line in open("/proc/self/maps"))
def handles(): return len(os.listdir("/proc/self/fd"))
before = handles(), maps()
resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] + 16, before[0] + 16))
kept = [graph for file in files for graph in geoembed.read(file, on_error="raise")]
half = [next(geoembed.read(file, on_error="raise")) for file in files]
assert (handles(), maps()) == before, (handles(), maps(), before)
assert len(kept) == len(files) == len(half) == int(sys.argv[2]), (len(kept), len(files))
assert all(graph.x.numpy().dtype.isnative for graph in kept)
print("same")
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts handles through /proc")
def test_sixty_fits_files_are_read_with_sixteen_handles_and_none_stays_open(tmp_path: Path) -> None:
    for number in range(60):
        name = list(FILES)[number % 5]
        FILES[name](tmp_path / f"{number}-{name}")
    command = [sys.executable, "-c", _HANDLES, str(tmp_path), "60"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout == "same\n", ended.stderr


# --- 15: names, order, duplicates, sentinels ----------------------------------------------------------------------------------


def _shuffled(table: pd.DataFrame) -> pd.DataFrame:
    return table.sample(frac=1, random_state=3)


def _repeated(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.iloc[[2, 5, 5]]])


def _with_missing(table: pd.DataFrame) -> pd.DataFrame:
    marks = pd.DataFrame({"mjd": [59001.0, 59002.0, np.nan, 59003.0], "band": list("grig"), "mag": [np.nan, 99.0, 17.0, -999.0], "magerr": 0.1})
    return pd.concat([marks, table])


def _renamed(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"mjd": "HJD", "band": "FLT", "mag": "MAGPSF", "magerr": "sigmapsf"})


def _prefixed(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(band="ztf" + table["band"])


@pytest.mark.parametrize("change", [_shuffled, _repeated, _with_missing, _renamed, _prefixed,
                                    lambda table: _renamed(_shuffled(_with_missing(_repeated(table))))])
def test_the_same_measurements_are_the_same_graph(change: Callable[[pd.DataFrame], pd.DataFrame], tmp_path: Path) -> None:
    graphs = []
    for name, table in (("a", curve()), ("b", change(curve()))):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        graphs += list(geoembed.read(tmp_path / f"{name}.csv", on_error="raise"))
    assert same(*graphs)


def test_what_was_merged_dropped_and_doubted_is_counted(tmp_path: Path) -> None:
    doubt = curve().iloc[[0]].assign(mag=12.0)
    pd.concat([_with_missing(_repeated(curve())), doubt]).to_csv(tmp_path / "a.csv", index=False)
    [graph] = geoembed.read(tmp_path / "a.csv", on_error="raise")
    assert graph.notes == {"duplicates_merged": 3, "missing_dropped": 3, "without_time": 1, "conflicting_samples": 1}
    assert graph.num_nodes == 13  # both of the conflicting values are kept


def test_an_unknown_band_is_refused_with_the_names_of_the_known_ones(tmp_path: Path) -> None:
    curve().replace({"band": {"r": "rr"}}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UnknownNameError, match=r"'rr'; expected one of .*, g, .*, r, .*Rename the band"):
        list(geoembed.read(tmp_path / "a.csv", on_error="raise"))


# --- 65: bombs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [{"NAXIS1": 2**31, "NAXIS2": 1}, {"NAXIS1": 2**31, "NAXIS2": 2**31}])
def test_a_small_file_may_not_claim_a_huge_image(axes: dict[str, int], tmp_path: Path) -> None:
    header = fits.PrimaryHDU(np.zeros((2, 2))).header
    header.update(axes)
    (tmp_path / "bomb.fits").write_bytes(header.tostring().encode())
    start = time.monotonic()
    with pytest.raises(BudgetError, match="Split the record"):
        list(geoembed.read(tmp_path / "bomb.fits", on_error="raise"))
    assert time.monotonic() - start < 1


def test_a_small_file_may_not_claim_a_huge_table(tmp_path: Path) -> None:
    write_light_curve(tmp_path / "bomb.fits")
    content = (tmp_path / "bomb.fits").read_bytes()
    rows = b"NAXIS2  =                   90"
    assert rows in content
    (tmp_path / "bomb.fits").write_bytes(content.replace(rows, b"NAXIS2  = %20d" % 2**40))
    with pytest.raises(BudgetError, match="Split the record"):
        list(geoembed.read(tmp_path / "bomb.fits", on_error="raise"))


def test_fault_03_a_fits_file_that_ends_in_the_padding_of_an_hdu_may_have_lost_the_next(tmp_path):
    whole = Path(geoembed.sample("spectrum-galaxy-1.fits")).read_bytes()
    (graph,) = read_all(tmp_path, whole)[0]
    assert graph.provenance.settings["redshift"]
    for kept in range(len(whole) - 160, len(whole) // 2, -1600):
        if kept % 2880:
            (tmp_path / "s.fits").write_bytes(whole[:kept])
            items = geoembed.read(tmp_path / "s.fits")
            assert list(items) == []
            assert [bad.error for bad in items.quarantined] == ["TruncatedFileError"]


def read_all(folder, content):
    (folder / "s.fits").write_bytes(content)
    items = geoembed.read(folder / "s.fits")
    return list(items), items.quarantined
