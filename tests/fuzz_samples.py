"""One small, whole file of every format: the shipped samples, and of formats without one a file that is made here."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from geoembed.io.shipped import sample, sample_names

from fuzzing import Sample


def names() -> list[str]:
    """The smallest shipped sample of each suffix and a few with other content, and the files that are made here."""
    chosen: dict[str, Path] = {}
    for name in sample_names():
        path = sample(name)
        key = "".join(path.suffixes)
        if key not in chosen or path.stat().st_size < chosen[key].stat().st_size:
            chosen[key] = path
    return sorted({path.name for path in chosen.values()} | {"spectrum-star-1.csv", "crystal-oxide-TiO2-P1.cif"}) + sorted(_MADE)


def sample_called(name: str) -> Sample:
    """The whole file of that name."""
    return Sample(name, _MADE[name]() if name in _MADE else sample(name).read_bytes())


def samples() -> dict[str, Sample]:
    """All of them, by name."""
    return {name: sample_called(name) for name in names()}


def _audio(kind: str, subtype: str) -> bytes:
    import soundfile

    out = io.BytesIO()
    tone = 0.3 * np.sin(np.arange(4000) / 5.0)
    soundfile.write(out, tone, 8000, format=kind, subtype=subtype)
    return out.getvalue()


def _picture(kind: str, mode: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    values = np.random.default_rng(1).integers(0, 255, (24, 20, 4), dtype=np.uint8)
    picture = Image.fromarray(values[..., :3], "RGB") if mode != "RGBA" else Image.fromarray(values, "RGBA")
    picture.convert(mode).save(out, kind)
    return out.getvalue()


def _hdf5() -> bytes:
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["jets/jet_pt"] = np.array([210.0, 90.0])
        file["jets/jet_eta"], file["jets/jet_phi"], file["jets/jet_mass"] = np.zeros(2), np.zeros(2), np.ones(2)
        for name in ("part_pt", "part_eta", "part_phi"):
            file[f"jets/{name}"] = np.random.default_rng(1).random((2, 6))
    return out.getvalue()


def _strain() -> bytes:
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        strain = file.create_dataset("strain/Strain", data=np.random.default_rng(1).normal(size=2048) * 1e-22)
        strain.attrs.update({"Npoints": 2048, "Xspacing": 1 / 1024, "Xstart": 1126259446})
        file["meta/Detector"] = "H1"
        file["quality/simple/DQmask"] = np.array([3, 3], dtype=np.uint32)
        file["quality/simple/DQShortnames"] = np.array([b"DATA", b"CBC_CAT1"])
    return out.getvalue()


def _npz() -> bytes:
    out = io.BytesIO()
    random = np.random.default_rng(1)
    np.savez(out, pt=random.random((3, 5)) + 0.1, eta=random.random((3, 5)), phi=random.random((3, 5)))
    return out.getvalue()


def _avro() -> bytes:
    import fastavro

    candidate = {"type": "record", "name": "candidate", "fields": [
        {"name": "jd", "type": "double"}, {"name": "fid", "type": "int"}, {"name": "isdiffpos", "type": ["null", "string"]},
        {"name": "magpsf", "type": ["null", "float"]}, {"name": "sigmapsf", "type": ["null", "float"]}]}
    schema = {"type": "record", "name": "alert", "fields": [
        {"name": "objectId", "type": "string"}, {"name": "candidate", "type": candidate},
        {"name": "prv_candidates", "type": ["null", {"type": "array", "items": "candidate"}]}]}
    rows = [{"jd": 2458300.5 + i, "fid": 1 + i % 2, "isdiffpos": "t", "magpsf": 19.0 + i / 10, "sigmapsf": 0.1} for i in range(6)]
    out = io.BytesIO()
    alerts = [{"objectId": f"ZTF18{i}", "candidate": rows[0], "prv_candidates": rows[1:]} for i in range(3)]
    fastavro.writer(out, schema, alerts, codec="deflate", sync_marker=b"S" * 16)
    return out.getvalue()


def _fits() -> bytes:
    from astropy.io import fits

    random = np.random.default_rng(1)
    sky = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 5.0, "CRPIX2": 4.0, "CRVAL1": 150.0, "CRVAL2": 2.0,
                       "CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4, "EQUINOX": 2000.0, "RADESYS": "ICRS"})
    weight = random.random((9, 12), dtype=np.float32) - 0.1
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(random.random((9, 12), dtype=np.float32), sky, name="SCI"),
            fits.ImageHDU(np.arange(108, dtype=np.int16).reshape(9, 12) % 7 // 6, name="MASK"), fits.ImageHDU(weight, name="IVAR")]
    out = io.BytesIO()
    fits.HDUList(hdus).writeto(out)
    return out.getvalue()


def _snid() -> bytes:
    head = "    2 4   2500.00  10000.00      1     sn1999xx       1.10  Ia-norm     1  2\n      1  0.7  1  0.8\n      1  2.4720  -0.2611  2.4 -0.1\n"
    return f"{head}       0  -3.100 12.000\n 4000.00 0.000 0.500\n 4400.00 0.250 -0.500\n 4840.00 -0.750 1.500\n 5324.00 0.500 0.000\n".encode()


def _jsonl() -> bytes:
    rows = [{"object_id": i, "mjd": [1.0, 2.0, 3.5], "mag": [19.0, 19.5, 20.0], "band": ["g", "r", "g"]} for i in range(4)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _bold() -> bytes:
    return b"processid\tphylum\tspecies\tnucraw\nA1\tAnnelida\tNereis\tACGTNNRYACGT\nA2\tAnnelida\tNone\tAC-GTU\nA3\tNone\tNone\tNone\n"


def _lhe() -> bytes:
    particles = "".join(f" {code} {status} 0 0 0 0 {px} {py} {pz} {e} {m} 0.0 1.0\n" for code, status, px, py, pz, e, m in (
        (21, -1, 0, 0, 100, 100, 0), (21, -1, 0, 0, -80, 80, 0), (6, 1, 30, 10, 5, 176, 173), (-6, 1, -30, -10, 15, 177, 173)))
    event = f"<event>\n 4 1 1.0 91.0 0.007 0.118\n{particles}</event>\n"
    return f'<LesHouchesEvents version="3.0">\n<init>\n</init>\n{event * 3}</LesHouchesEvents>\n'.encode()


def _hepmc() -> bytes:
    event = "E {n} 1 3\nU GEV MM\nP 1 0 2212 0 0 6500 6500 0.938 4\nV -1 0 [1]\nP 2 -1 211 1.5 0.5 10 10.2 0.14 1\nP 3 -1 22 2.5 -0.5 -3 3.95 0 1\n"
    return ("HepMC::Version 3.02\nHepMC::Asciiv3-START_EVENT_LISTING\n" + "".join(event.format(n=n) for n in range(3))
            + "HepMC::Asciiv3-END_EVENT_LISTING\n").encode()


_MADE: dict[str, Callable[[], bytes]] = {
    "sound.ogg": lambda: _audio("OGG", "VORBIS"), "sound.mp3": lambda: _audio("MP3", "MPEG_LAYER_III"),
    "sound.aiff": lambda: _audio("AIFF", "PCM_16"), "photo.jpg": lambda: _picture("JPEG", "RGB"), "photo.gif": lambda: _picture("GIF", "P"),
    "photo.webp": lambda: _picture("WEBP", "RGB"), "photo.bmp": lambda: _picture("BMP", "RGB"), "photo.tiff": lambda: _picture("TIFF", "CMYK"),
    "jets.h5": _hdf5, "strain.hdf5": _strain, "events.npz": _npz, "alerts.avro": _avro, "curves.jsonl": _jsonl, "bold.tsv": _bold,
    "events.lhe": _lhe, "events.hepmc": _hepmc,
    "field.fits": _fits, "template.lnw": _snid,
}
