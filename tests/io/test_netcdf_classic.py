"""The length that a classic header declares is the length of a file that the reference library wrote."""

import contextlib

import netCDF4
import numpy as np
import pytest
from geoembed.errors import GeoembedError, TruncatedFileError, UnreadableFileError
from geoembed.io.netcdf_classic import check_classic
from hypothesis import given
from hypothesis import strategies as st

from climate_files import temperature, write_netcdf

KINDS = ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", [0, 1, 5])
def test_whole_file_passes_and_declares_the_bytes_of_its_values(tmp_path, kind, times):
    path = write_netcdf(tmp_path / "t.nc", temperature(max(times, 1))[:times], kind=kind)
    assert check_classic(path) == times * (13 * 24 * 4 + 8) + (13 + 24) * 8


@pytest.mark.parametrize("kind", KINDS)
def test_file_cut_anywhere_is_truncated(tmp_path, kind):
    whole = write_netcdf(tmp_path / "t.nc", temperature(3), kind=kind).read_bytes()
    for kept in {len(whole) // 3, len(whole) // 2, len(whole) - 1, 5, 40, 100, 300}:
        (tmp_path / "cut.nc").write_bytes(whole[:kept])
        with pytest.raises(TruncatedFileError, match="Fetch or write the file again"):
            check_classic(tmp_path / "cut.nc")


@pytest.mark.parametrize("dtype", ["i1", "i2"])
def test_records_of_a_lone_variable_are_not_padded(tmp_path, dtype):
    path = tmp_path / "t.nc"
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("time", None)
        file.createDimension("x", 3)
        file.createVariable("v", dtype, ("time", "x"))[:] = np.ones((7, 3))
    check_classic(path)
    path.write_bytes(path.read_bytes()[: -4 - 3 * np.dtype(dtype).itemsize])
    with pytest.raises(TruncatedFileError, match="would read as zeros"):
        check_classic(path)


@given(st.integers(4, 500), st.integers(0, 255))
def test_flipped_byte_in_the_header_gives_a_length_or_an_error_of_ours(tmp_path_factory, position, value):
    path = tmp_path_factory.mktemp("classic") / "t.nc"
    data = bytearray(write_netcdf(path, temperature(2), kind="NETCDF3_CLASSIC").read_bytes())
    data[position] = value
    path.write_bytes(data)
    with contextlib.suppress(GeoembedError):
        assert check_classic(path) >= 0


def test_contradicting_header_is_named_with_its_place(tmp_path):
    path = write_netcdf(tmp_path / "t.nc", temperature(2), kind="NETCDF3_CLASSIC")
    data = bytearray(path.read_bytes())
    data[11] = 77  # the tag of the list of dimensions
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError, match="the tag 77 at byte 16"):
        check_classic(path)
