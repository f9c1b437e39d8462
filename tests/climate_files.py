"""Small climate files that tests write: NetCDF, Zarr and GRIB of one and the same kind of field."""

from __future__ import annotations

from pathlib import Path

import numpy as np

LAT, LON = np.linspace(90, -90, 13), np.arange(0, 360, 15.0)


def temperature(times=1, seed=0):
    """[T, 13, 24] K, with a pole that is one value and a gradient from it to the equator."""
    noise = np.random.default_rng(seed).normal(size=(times, 13, 24))
    return (285 - 50 * np.sin(np.radians(LAT))[:, None] ** 2 + noise).astype(np.float32)


def write_netcdf(path, values, lat=LAT, lon=LON, *, name="t2m", units="K", kind="NETCDF4", times=True, attrs=None, fill=None):
    """One variable [T, lat, lon] with CF coordinates."""
    import netCDF4

    with netCDF4.Dataset(path, "w", format=kind) as file:
        file.createDimension("time", None)
        for axis, degrees, word in (("lat", lat, "north"), ("lon", lon, "east")):
            file.createDimension(axis, len(degrees))
            variable = file.createVariable(axis, "f8", (axis,))
            variable.units, variable.standard_name = f"degrees_{word}", {"lat": "latitude", "lon": "longitude"}[axis]
            variable[:] = degrees
        if times:
            variable = file.createVariable("time", "f8", ("time",))
            variable.units, variable.calendar = "days since 2001-01-01", "standard"
            variable[:] = np.arange(len(values))
        variable = file.createVariable(name, values.dtype.str[1:], ("time", "lat", "lon")[3 - values.ndim:], fill_value=fill)
        variable.set_auto_maskandscale(False)
        variable.setncatts({"units": units, **(attrs or {})})
        variable[:] = values
    return path


def grib_bytes(values, name="t", level=500, *, kind="isobaricInhPa", step=0, date=20010101, member=None, edition=2, points=(13, 24),
               step_range=None, missing=None):
    """One GRIB message on the regular grid of ``points``, north to south, from 0° E."""
    import eccodes

    handle = eccodes.codes_grib_new_from_samples(f"regular_ll_pl_grib{edition}")
    rows, columns = points
    settings = {
        "Ni": columns, "Nj": rows, "latitudeOfFirstGridPointInDegrees": 90.0, "latitudeOfLastGridPointInDegrees": -90.0,
        "longitudeOfFirstGridPointInDegrees": 0.0, "longitudeOfLastGridPointInDegrees": 360.0 - 360.0 / columns,
        "iDirectionIncrementInDegrees": 360.0 / columns, "jDirectionIncrementInDegrees": 180.0 / (rows - 1),
        "dataDate": date, "dataTime": 0, "typeOfLevel": kind, "level": level, "shortName": name,
        "stepRange": step_range or str(step), "bitsPerValue": 24,
    }
    if member is not None:
        settings = {"productDefinitionTemplateNumber": 1, **settings, "number": member}
    for key, value in settings.items():
        eccodes.codes_set(handle, key, value)
    if missing is not None:
        eccodes.codes_set(handle, "bitmapPresent", 1)
        eccodes.codes_set(handle, "missingValue", 9999.0)
        values = np.where(missing, 9999.0, values)
    eccodes.codes_set_values(handle, np.asarray(values, np.float64).ravel())
    message = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return message


def write_grib(path, messages):
    """A file of these messages."""
    Path(path).write_bytes(b"".join(messages))
    return path


def write_multi_field(path, messages):
    """One GRIB 2 message that holds the fields of all ``messages`` (as u and v are often written)."""
    import eccodes

    multi = eccodes.codes_grib_multi_new()
    handles = [eccodes.codes_new_from_message(message) for message in messages]
    for handle in handles:
        eccodes.codes_grib_multi_append(handle, 4, multi)
    with open(path, "wb") as file:
        eccodes.codes_grib_multi_write(multi, file)
    eccodes.codes_grib_multi_release(multi)
    for handle in handles:
        eccodes.codes_release(handle)
    return path
