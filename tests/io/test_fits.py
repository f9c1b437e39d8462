"""FITS: which HDUs are images, spectra and light curves, what is masked, and what a header may claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from geoembed.errors import (
    BudgetError,
    EmptyGraphError,
    GeoembedError,
    MissingFieldError,
    TruncatedFileError,
    UnknownNameError,
    UnreadableFileError,
    ValueRangeError,
)
from geoembed.graphs.grid import image_of
from geoembed.graphs.passbands import passband_index
from geoembed.io.fits import Fits
from geoembed.io.reader import stream
from geoembed.io.record import BadRecord, Record
from geoembed.schema import Graph

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
READER = Fits()


def save(path: Path, *hdus: fits.hdu.base.ExtensionHDU, **settings: bool) -> Path:
    fits.HDUList([fits.PrimaryHDU(), *hdus] if not isinstance(hdus[0], fits.PrimaryHDU) else list(hdus)).writeto(path, **settings)
    return path


def read(path: Path) -> dict[str, Graph]:
    found = {}
    for record in READER.records(path):
        if isinstance(record, BadRecord):
            raise record.error
        found[record.key] = READER.to_graph(record).with_provenance(notes=dict(record.notes))
    return found


def table(name: str = "T", header: dict[str, object] | None = None, **columns: object) -> fits.BinTableHDU:
    unit = fits.BinTableHDU.from_columns([_column(key, value) for key, value in columns.items()], name=name)
    unit.header.update(header or {})
    return unit


def _column(name: str, values: object) -> fits.Column:
    array = np.asarray(values)
    code = {"f": "D", "i": "K", "U": f"{array.dtype.itemsize // 4}A"}[array.dtype.kind]
    return fits.Column(name, code if array.ndim == 1 else f"{array.shape[1]}{code}", array=array)


IMAGE = np.arange(80, dtype=np.float32).reshape(8, 10)


# --- images -------------------------------------------------------------------------------------------------------------------


def test_only_the_first_card_of_the_standard_is_taken_for_fits() -> None:
    assert READER.can_open(b"SIMPLE  =                    T", "a.dat")
    assert not READER.can_open(b"# identify compspec.fits", "a.fits")


@pytest.mark.parametrize("dtype", ["u1", ">i2", ">i4", ">i8", ">f4", ">f8", "<u2"])
def test_pixels_of_every_type_are_the_numbers_that_were_written(dtype: str, tmp_path: Path) -> None:
    graph = read(save(tmp_path / "a.fits", fits.PrimaryHDU(IMAGE.astype(dtype))))["primary"]
    pixels, measured = image_of(graph)
    assert torch.equal(pixels[0], torch.from_numpy(IMAGE))
    assert bool(measured.all())
    assert graph.provenance.modality == "galaxy"
    assert graph.provenance.settings["patch"] == 4


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"])
def test_a_tile_compressed_image_is_the_image(compression: str, tmp_path: Path) -> None:
    image = fits.CompImageHDU(IMAGE.astype(np.int16), compression_type=compression)
    pixels, _ = image_of(read(save(tmp_path / "a.fits.fz", image))["hdu 1"])
    assert torch.equal(pixels[0], torch.from_numpy(IMAGE))


def test_scaled_integers_and_blank_pixels_become_numbers_and_unmeasured_ones(tmp_path: Path) -> None:
    primary = fits.PrimaryHDU(IMAGE.astype(np.int16))
    primary.header.update({"BZERO": 100.0, "BSCALE": 2.0, "BLANK": 13})
    pixels, measured = image_of(read(save(tmp_path / "a.fits", primary))["primary"])
    known = torch.from_numpy(IMAGE != 13)
    assert torch.equal(measured[0], known)
    assert torch.equal(pixels[0][known], 2 * torch.from_numpy(IMAGE)[known] + 100)


def test_a_pixel_that_is_not_a_number_is_not_measured(tmp_path: Path) -> None:
    holes = IMAGE.copy()
    holes[2, 3], holes[4, 5] = np.nan, np.inf
    graph = read(save(tmp_path / "a.fits", fits.PrimaryHDU(holes)))["primary"]
    assert torch.equal(image_of(graph)[1][0], torch.from_numpy(np.isfinite(holes)))


def test_a_fill_value_that_no_header_declares_is_refused(tmp_path: Path) -> None:
    holes = IMAGE.astype(np.float64)
    holes[0, 0] = 9.96921e36
    with pytest.raises(ValueRangeError, match="Declare the fill value as BLANK"):
        read(save(tmp_path / "a.fits", fits.PrimaryHDU(holes)))


def test_an_image_without_a_measured_pixel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyGraphError, match="no measured pixel"):
        read(save(tmp_path / "a.fits", fits.PrimaryHDU(np.full((4, 4), np.nan))))


def test_a_cube_of_few_planes_is_one_picture_and_leading_axes_of_one_are_dropped(tmp_path: Path) -> None:
    cube = np.stack([IMAGE, 2 * IMAGE, 3 * IMAGE])[None]
    pixels, _ = image_of(read(save(tmp_path / "a.fits", fits.PrimaryHDU(cube)))["primary"])
    assert torch.equal(pixels, torch.from_numpy(cube[0]))


def test_a_spectral_cube_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match="17 × 2 × 2; expected at most 16 planes"):
        read(save(tmp_path / "a.fits", fits.PrimaryHDU(np.zeros((17, 2, 2), np.float32))))


def test_images_through_different_filters_are_the_bands_of_one_picture(tmp_path: Path) -> None:
    bands = [fits.ImageHDU(IMAGE + k, fits.Header({"FILTER": f"{name} DECam"})) for k, name in enumerate("gri")]
    found = read(save(tmp_path / "a.fits", *bands))
    assert list(found) == ["g+r+i"]
    assert torch.equal(image_of(found["g+r+i"])[0], torch.from_numpy(np.stack([IMAGE, IMAGE + 1, IMAGE + 2])))
    assert found["g+r+i"].provenance.settings["bands"] == ["g", "r", "i"]


@pytest.mark.parametrize("filters", [["g", "g"], ["g", ""]])
def test_images_through_one_filter_are_pictures_of_their_own(filters: list[str], tmp_path: Path) -> None:
    units = [fits.ImageHDU(IMAGE, fits.Header({"FILTER": name, "EXTNAME": f"S{k}"})) for k, name in enumerate(filters)]
    assert list(read(save(tmp_path / "a.fits", *units))) == ["S0", "S1"]


def test_a_large_image_is_cut_into_equal_tiles_that_cover_it(tmp_path: Path) -> None:
    large = np.arange(600 * 300, dtype=np.float32).reshape(600, 300)
    found = read(save(tmp_path / "a.fits", fits.PrimaryHDU(large)))
    assert list(found) == [f"primary[{y}:{y + 256},{x}:{x + 256}]" for y in (0, 256, 344) for x in (0, 44)]
    covered = np.full_like(large, -1)
    for key, graph in found.items():
        rows, columns = (slice(*map(int, part.split(":"))) for part in key[8:-1].split(","))
        covered[rows, columns] = image_of(graph)[0][0].numpy()
    assert np.array_equal(covered, large)


def test_an_image_of_512_pixels_a_side_stays_whole(tmp_path: Path) -> None:
    assert list(read(save(tmp_path / "a.fits", fits.PrimaryHDU(np.ones((8, 512), np.float32))))) == ["primary"]


def test_weights_masks_and_errors_are_no_pictures(tmp_path: Path) -> None:
    units = [fits.ImageHDU(IMAGE + 1, name="SCI"), *(fits.ImageHDU(IMAGE[:4], name=name) for name in ("ERR", "DQ", "Weight map", "BKG"))]
    found = read(save(tmp_path / "a.fits", *units))
    assert list(found) == ["SCI"]
    assert found["SCI"].notes == {"hdus_left_out": "ERR, DQ, WEIGHT MAP, BKG"}  # of another size, or of no use


def companion(name: str, **cards: object) -> fits.ImageHDU:
    """One pixel, (2, 3), is excluded by a companion of this kind."""
    flags = name in ("MASK", "DQ", "BPM")
    values = np.zeros((8, 10), np.int32) if flags else np.full((8, 10), 4.0, np.float32)
    values[2, 3] = 64 if flags else 0
    return fits.ImageHDU(values, fits.Header(cards), name=name)


@pytest.mark.parametrize("name", ["MASK", "DQ", "BPM", "IVAR", "WHT", "ERR", "SIGMA", "EXPOSURE"])
def test_what_a_mask_a_weight_or_an_error_excludes_has_no_influence_at_all(name: str, tmp_path: Path) -> None:
    hostile = IMAGE.astype(np.float32) + 1
    other = hostile.copy()
    other[2, 3] = 1e38  # a fill that would be refused were it not masked
    first, second = (read(save(tmp_path / f"{number}.fits", fits.ImageHDU(pixels, name="SCI"), companion(name)))["SCI"]
                     for number, pixels in enumerate((hostile, other)))
    image, measured = image_of(first)
    assert np.argwhere(~measured[0].numpy()).tolist() == [[2, 3]]
    assert torch.equal(first.x, second.x)
    assert torch.equal(image[0][measured[0]], torch.from_numpy(hostile)[measured[0]])
    assert first.notes == {"masked_pixels": 1, "masked_by": name}


def test_masks_belong_to_the_image_of_their_version_their_filter_or_before_them(tmp_path: Path) -> None:
    def image(**cards: object) -> fits.ImageHDU:
        return fits.ImageHDU(IMAGE + 1, fits.Header(cards), name="SCI")

    def holes(*units: fits.ImageHDU) -> list[int]:
        records = [record for record in READER.records(save(tmp_path / "a.fits", *units)) if not isinstance(record, BadRecord)]
        (tmp_path / "a.fits").unlink()
        return [int((~image_of(READER.to_graph(record))[1]).sum()) for record in records]

    assert holes(image(EXTVER=1), image(EXTVER=2), companion("DQ", EXTVER=2)) == [0, 1]
    assert holes(image(), companion("MASK"), image(), companion("IVAR"), companion("MASK")) == [1, 1]
    assert holes(image(FILTER="g"), image(FILTER="r"), companion("MASK")) == [2]  # one picture of two bands
    assert holes(image(FILTER="g"), image(FILTER="r"), companion("MASK", FILTER="r")) == [1]


def test_of_the_quality_flags_of_jwst_only_do_not_use_excludes(tmp_path: Path) -> None:
    quality = np.zeros((8, 10), np.uint32)
    quality[0, 0], quality[1, 1] = 4, 1 | 4  # a jump that was corrected; a pixel that is not to be used
    units = [fits.ImageHDU(IMAGE + 1, name="SCI"), fits.ImageHDU(quality, fits.Header({"TELESCOP": "JWST"}), name="DQ")]
    _, measured = image_of(read(save(tmp_path / "a.fits", *units))["SCI"])
    assert np.argwhere(~measured[0].numpy()).tolist() == [[1, 1]]


def test_errors_that_are_nowhere_known_mask_nothing_and_weights_of_zero_everything(tmp_path: Path) -> None:
    nothing = np.zeros((8, 10), np.float32)
    found = read(save(tmp_path / "a.fits", fits.ImageHDU(IMAGE + 1, name="SCI"), fits.ImageHDU(nothing, name="ERR")))
    assert bool(found["SCI"].measured.sum() == 80)
    with pytest.raises(EmptyGraphError, match="no measured pixel"):
        read(save(tmp_path / "b.fits", fits.ImageHDU(IMAGE + 1, name="SCI"), fits.ImageHDU(nothing, name="IVAR")))


def test_the_place_on_the_sky_is_a_label(tmp_path: Path) -> None:
    """A tangential projection whose reference pixel is the middle of the image: there it looks at CRVAL."""
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 5.5, "CRPIX2": 4.5, "CRVAL1": 150.0, "CRVAL2": 2.25,
             "CDELT1": -0.0001, "CDELT2": 0.0001, "CUNIT1": "deg", "CUNIT2": "deg"}
    (graph,) = read(save(tmp_path / "a.fits", fits.ImageHDU(IMAGE, fits.Header(cards), name="SCI"))).values()
    assert graph.notes == {"ra": pytest.approx(150.0), "dec": pytest.approx(2.25), "pixel_arcsec": pytest.approx(0.36)}
    broken = fits.ImageHDU(IMAGE, fits.Header({**cards, "CTYPE1": "RA---XYZ"}), name="SCI")
    (graph,) = read(save(tmp_path / "b.fits", broken)).values()
    assert graph.notes == {"wcs_unreadable": True}


@pytest.mark.parametrize("name", ["c4d_1_oow_g.fits", "c4d_1_ood_g.fits.fz", "frame.wht.fits"])
def test_a_file_named_as_a_weight_map_is_no_picture(name: str, tmp_path: Path) -> None:
    with pytest.raises(EmptyGraphError, match="a weight, mask or error image"):
        read(save(tmp_path / name, fits.PrimaryHDU(IMAGE)))


def test_a_changed_byte_that_a_checksum_knows_of_is_noted(tmp_path: Path) -> None:
    path = save(tmp_path / "a.fits", fits.ImageHDU(IMAGE, name="SCI"), fits.ImageHDU(IMAGE, name="SCI2"), checksum=True)
    assert all("checksum_mismatch" not in graph.notes for graph in read(path).values())
    content = bytearray(path.read_bytes())
    content[content.index(IMAGE.astype(">f4").tobytes()) + 9] ^= 1
    path.write_bytes(content)
    assert read(path)["SCI"].notes["checksum_mismatch"] == "SCI"


# --- what a header may claim --------------------------------------------------------------------------------------------------


def claim(path: Path, **cards: object) -> Path:
    header = fits.PrimaryHDU(IMAGE).header
    header.update(cards)
    path.write_bytes(header.tostring().encode() + b"\0" * 2880)
    return path


@pytest.mark.parametrize(("cards", "error", "match"), [
    ({"NAXIS1": 2**31, "NAXIS2": 2}, BudgetError, "Split the record"),
    ({"NAXIS1": 2**62, "NAXIS2": 2**62}, BudgetError, "at most 2.0 GiB"),
    ({"NAXIS1": 100, "NAXIS2": 100}, TruncatedFileError, "2880 bytes of data in HDU 0; expected 40000"),
    ({"NAXIS1": -5}, UnreadableFileError, "NAXIS1 = -5"),
    ({"NAXIS1": 2.5}, UnreadableFileError, "NAXIS1 = 2.5"),
    ({"NAXIS": 5000}, UnreadableFileError, "NAXIS = 5000; expected at most 999"),
    ({"BITPIX": 7}, UnreadableFileError, "BITPIX = 7"),
    ({"SIMPLE": False}, UnreadableFileError, "SIMPLE = F"),
    ({"NAXIS1": 0, "GROUPS": True, "PCOUNT": 5, "GCOUNT": 3}, UnreadableFileError, "random groups"),
])
def test_a_header_that_claims_what_cannot_be_is_refused(cards: dict[str, object], error: type[GeoembedError], match: str,
                                                        tmp_path: Path) -> None:
    with pytest.raises(error, match=match):
        read(claim(tmp_path / "a.fits", **cards))


def test_a_compressed_image_may_not_claim_more_than_the_budget(tmp_path: Path) -> None:
    path = save(tmp_path / "a.fits", fits.CompImageHDU(IMAGE.astype(np.int16)))
    content = path.read_bytes()
    for axis in (b"ZNAXIS1 =                   10", b"ZTILE1  =                   10"):
        content = content.replace(axis, axis[:10] + b"%20d" % 2**31)
    path.write_bytes(content)
    with pytest.raises(BudgetError, match="Split the record"):
        read(path)


def test_a_card_that_cannot_be_parsed_is_noted_and_one_of_the_structure_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.fits", fits.PrimaryHDU(IMAGE, fits.Header({"AIRMASS": 1.25})))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"AIRMASS =                 1.25", b"AIRMASS =              1.25.7e"))
    assert read(path)["primary"].notes == {"unparsed_cards": "AIRMASS"}
    path.write_bytes(whole.replace(b"NAXIS2  =                    8", b"NAXIS2  =                8.8.8"))
    with pytest.raises(UnreadableFileError, match="NAXIS2"):
        read(path)


def test_a_file_of_headers_says_that_it_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(EmptyGraphError, match="headers without data"):
        read(save(tmp_path / "a.fits", fits.PrimaryHDU()))


def test_bytes_after_the_last_unit_are_noted(tmp_path: Path) -> None:
    path = save(tmp_path / "a.fits", fits.PrimaryHDU(IMAGE))
    path.write_bytes(path.read_bytes() + b"appended")
    assert read(path)["primary"].notes["bytes_after_the_end"] == 8


# --- spectra ------------------------------------------------------------------------------------------------------------------

FLUX = np.array([1.0, 2.0, 3.0, 4.0, 5.0])


def wavelengths(graph: Graph) -> list[float]:
    return (10 ** graph.pos[:, 0]).tolist()


@pytest.mark.parametrize(("cards", "expected"), [
    ({"CRVAL1": 4000.0, "CDELT1": 2.0}, [4000, 4002, 4004, 4006, 4008]),
    ({"CRVAL1": 4000.0, "CD1_1": 2.0, "CDELT1": 9.0, "CRPIX1": 3.0}, [3996, 3998, 4000, 4002, 4004]),
    ({"CRVAL1": 400.0, "CDELT1": 0.2, "CUNIT1": "nm"}, [4000, 4002, 4004, 4006, 4008]),
    ({"CRVAL1": 4e-7, "CDELT1": 2e-10, "CUNIT1": "m"}, [4000, 4002, 4004, 4006, 4008]),
    ({"CRVAL1": 3.5, "CD1_1": 0.1, "DC-FLAG": 1}, [10 ** (3.5 + 0.1 * k) for k in range(5)]),
    ({"COEFF0": 3.5, "COEFF1": 0.1}, [10 ** (3.5 + 0.1 * k) for k in range(5)]),
    ({"CRVAL1": 4000.0, "CDELT1": 40.0, "CTYPE1": "WAVE-LOG"}, [4000 * np.exp(0.01 * k) for k in range(5)]),
])
def test_a_row_of_fluxes_has_the_wavelengths_of_its_header(cards: dict[str, object], expected: list[float], tmp_path: Path) -> None:
    graph = read(save(tmp_path / "a.fits", fits.PrimaryHDU(FLUX, fits.Header(cards))))["primary"]
    assert wavelengths(graph) == pytest.approx(expected, rel=1e-12)
    assert graph.x[:, 0].tolist() == pytest.approx((FLUX / 3).tolist())


@pytest.mark.parametrize(("cards", "match"), [({}, "CRVAL1 with CDELT1"), ({"CRVAL1": 1e9, "CDELT1": 1e6, "CUNIT1": "Hz"}, "'hz'"),
                                              ({"CRVAL1": 5000.0, "CDELT1": 0.0}, "CRVAL1 with CDELT1")])
def test_a_row_of_fluxes_without_wavelengths_is_refused(cards: dict[str, object], match: str, tmp_path: Path) -> None:
    with pytest.raises(MissingFieldError, match=match):
        read(save(tmp_path / "a.fits", fits.PrimaryHDU(FLUX, fits.Header(cards))))


def test_a_row_without_wavelengths_beside_a_picture_is_its_calibration(tmp_path: Path) -> None:
    found = read(save(tmp_path / "a.fits", fits.PrimaryHDU(IMAGE), fits.ImageHDU(FLUX, name="CALIB")))
    assert list(found) == ["primary"]
    assert found["primary"].notes["hdus_left_out"] == "CALIB"


def test_labeled_rows_are_flux_and_error_and_an_error_below_zero_masks(tmp_path: Path) -> None:
    rows = np.stack([FLUX, [0.1, -1.0, 0.1, 0.1, 0.1], [9.0] * 5])
    header = fits.Header({"CTYPE1": "LOGLIN", "DC-FLAG": 1, "CRVAL1": 3.5, "CD1_1": 0.1, "ARRAY1": "flux", "ARRAY2": "Normalized error"})
    graph = read(save(tmp_path / "a.fits", fits.PrimaryHDU(rows, header)))["primary"]
    assert graph.mask.tolist() == [True, False, True, True, True]
    assert graph.x[0].tolist() == pytest.approx([1 / 3, 0.1 / 3])
    assert graph.notes["masked_pixels"] == 1


@pytest.mark.parametrize("cards", [{"TELESCOP": "LAMOST"}, {"ARRAY1": "Flux", "ARRAY2": "Inverse variance", "ARRAY3": "Wavelength"}])
def test_the_second_row_of_a_lamost_spectrum_is_its_inverse_variance(cards: dict[str, object], tmp_path: Path) -> None:
    """Its third row holds wavelengths, which would pass for errors of thousands; 1 / 0.2² = 25."""
    rows = np.stack([FLUX, [25.0, 0.0, 25.0, 25.0, 25.0], 4000 + FLUX, 0 * FLUX, 0 * FLUX])
    header = fits.Header({"COEFF0": 3.5, "COEFF1": 0.1, **cards})
    graph = read(save(tmp_path / "a.fits", fits.PrimaryHDU(rows, header)))["primary"]
    assert graph.mask.tolist() == [True, False, True, True, True]
    assert (graph.x[0, 1] / graph.x[0, 0]).item() == pytest.approx(0.2)


def test_the_third_row_of_an_sdss_spectrum_of_its_first_years_is_its_error(tmp_path: Path) -> None:
    rows = np.stack([FLUX, 0 * FLUX, FLUX / 10, 0 * FLUX])
    graph = read(save(tmp_path / "a.fits", fits.PrimaryHDU(rows, fits.Header({"COEFF0": 3.5, "COEFF1": 0.1}))))["primary"]
    assert (graph.x[:, 1] / graph.x[:, 0]).tolist() == pytest.approx([0.1] * 5)


@pytest.mark.parametrize(("unit", "name", "scale"), [("nm", "WAVE", 0.1), ("um", "WAVELENGTH", 1e-4), ("Angstrom", "wave", 1.0), ("", "LAMBDA", 1.0),
                                                     ("nm", "wavelength_nm", 0.1)])
@pytest.mark.parametrize("one_row", [False, True])
def test_wavelengths_of_a_table_are_in_the_unit_that_its_header_gives(unit: str, name: str, scale: float, one_row: bool,
                                                                      tmp_path: Path) -> None:
    """Science spectra of ESO come in nm, those of JWST in µm; taken for Å, the former would be in the far ultraviolet."""
    wave = (4000 + FLUX) * scale
    header: dict[str, object] = {"TUNIT1": unit} if unit else {}
    graph = read(save(tmp_path / "a.fits", table("S", header, **{name: [wave] if one_row else wave, "FLUX": [FLUX] if one_row else FLUX})))["S"]
    assert wavelengths(graph) == pytest.approx((4000 + FLUX).tolist(), rel=1e-12)


def test_flux_error_and_wavelength_images_are_one_spectrum(tmp_path: Path) -> None:
    units = [fits.ImageHDU(values, name=name) for name, values in (("FLUX", FLUX), ("ERROR", FLUX / 10), ("WAVELENGTH", 4000 + FLUX),
                                                                   ("CONTINUUM", FLUX))]
    found = read(save(tmp_path / "a.fits", *units))
    assert wavelengths(found["FLUX"]) == pytest.approx((4000 + FLUX).tolist(), rel=1e-12)
    assert found["FLUX"].x[:, 1].tolist() == pytest.approx((FLUX / 30).tolist())
    assert found["FLUX"].notes["hdus_left_out"] == "CONTINUUM"


def test_rows_of_a_flux_image_are_spectra_on_the_arms_own_wavelengths(tmp_path: Path) -> None:
    """The layout of DESI coadds; a row whose inverse variance is 0 everywhere is left out alone."""
    units = [fits.ImageHDU(values, name=name) for name, values in (
        ("B_WAVELENGTH", 4000 + FLUX), ("B_FLUX", np.stack([FLUX, 2 * FLUX])), ("B_IVAR", np.stack([FLUX, 0 * FLUX])),
        ("R_WAVELENGTH", 6000 + FLUX), ("R_FLUX", FLUX[None]))]
    found = list(READER.records(save(tmp_path / "a.fits", *units)))
    assert [record.key for record in found] == ["B_FLUX[0]", "B_FLUX[1]", "R_FLUX"]
    assert [isinstance(record, BadRecord) for record in found] == [False, True, False]
    assert wavelengths(READER.to_graph(found[2])) == pytest.approx((6000 + FLUX).tolist(), rel=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["table", "header", "nowhere"])
def test_a_table_of_loglam_and_ivar_is_a_spectrum_at_its_redshift(where: str, tmp_path: Path) -> None:
    """The layout of SDSS spec files: COADD beside a table of one row with Z."""
    coadd = table("COADD", {"Z": 0.25} if where == "header" else {}, flux=FLUX, loglam=3.6 + FLUX / 100, ivar=[1.0, 4.0, 0.0, 4.0, 1.0])
    facts = table("SPECOBJ", **({"Z": [0.25]} if where == "table" else {"CLASS": ["GALAXY"]}))
    found = read(save(tmp_path / "a.fits", coadd, facts))
    z = 0.0 if where == "nowhere" else 0.25
    assert found["COADD"].pos[:, 0].tolist() == pytest.approx((3.6 + FLUX / 100 - np.log10(1 + z)).tolist())
    assert found["COADD"].mask.tolist() == [True, True, False, True, True]
    assert found["COADD"].notes == {"masked_pixels": 1, "hdus_left_out": "SPECOBJ"}


def test_a_table_of_one_row_of_lists_is_a_spectrum(tmp_path: Path) -> None:
    graph = read(save(tmp_path / "a.fits", table("SPECTRUM", WAVE=[4000 + FLUX], FLUX=[FLUX], ERR=[FLUX / 10])))["SPECTRUM"]
    assert wavelengths(graph) == pytest.approx((4000 + FLUX).tolist(), rel=1e-12)


# --- light curves -------------------------------------------------------------------------------------------------------------


def kepler(path: Path, mission: str = "Kepler", **more: object) -> Path:
    columns: dict[str, object] = {"TIME": [1.0, 2.0, 3.0, 4.0], "SAP_FLUX": [9e5] * 4, "PDCSAP_FLUX": [1e6, np.nan, 1e6, 2e6],
                                  "PDCSAP_FLUX_ERR": [1e3] * 4, "SAP_QUALITY": [0, 0, 128, 0], **more}
    return save(path, fits.PrimaryHDU(header=fits.Header({"TELESCOP": mission})), table("LIGHTCURVE", **columns),
                fits.ImageHDU(np.ones((3, 3), np.int32), name="APERTURE"))


@pytest.mark.parametrize(("mission", "zero_point"), [("Kepler", 25.1), ("TESS", 20.44)])
def test_a_mission_light_curve_has_its_passband_and_zero_point_and_no_flagged_sample(mission: str, zero_point: float,
                                                                                    tmp_path: Path) -> None:
    graph = read(kepler(tmp_path / "a.fits", mission))["LIGHTCURVE"]
    assert graph.pos[:, 0].tolist() == [1.0, 4.0]
    assert graph.token[:, 0].tolist() == [passband_index(mission)] * 2
    assert graph.x[:, 0].tolist() == pytest.approx([zero_point - 15, zero_point - 15 - 2.5 * np.log10(2)], abs=1e-4)
    assert graph.notes == {"hdus_left_out": "APERTURE", "flagged_dropped": 1, "missing_dropped": 1}


def test_times_in_seconds_become_days(tmp_path: Path) -> None:
    unit = table("LC", {"TUNIT1": "s", "FILTER": "V"}, TIME=[0.0, 86400.0], MAG=[10.0, 11.0])
    graph = read(save(tmp_path / "a.fits", unit))["LC"]
    assert graph.pos[:, 0].tolist() == [0.0, 1.0]
    assert graph.notes["seconds_to_days"] is True
    assert graph.token[:, 0].tolist() == [passband_index("V")] * 2


def test_a_null_integer_is_a_missing_value(tmp_path: Path) -> None:
    unit = table("LC", MJD=[1.0, 2.0], MAG=[17, -1])
    unit.columns["MAG"].null = -1
    unit.header["TNULL2"] = -1
    graph = read(save(tmp_path / "a.fits", unit))["LC"]
    assert graph.x[:, 0].tolist() == [17.0]


def pixels(aperture: list[list[int]] | None, quality: list[int] | None = None) -> list[fits.hdu.base._BaseHDU]:
    flux = np.arange(12, dtype=np.float32).reshape(3, 2, 2) + 100
    flux[1, 0, 0] = np.nan
    columns = [
        fits.Column("TIME", "D", array=[1.0, 2.0, 3.0]), fits.Column("FLUX", "4E", dim="(2,2)", array=flux, unit="e-/s"),
        fits.Column("FLUX_ERR", "4E", dim="(2,2)", array=np.full((3, 2, 2), 3.0)), fits.Column("QUALITY", "J", array=quality or [0, 0, 0])]
    hdus = [fits.BinTableHDU.from_columns(columns, name="PIXELS")]
    return [*hdus, fits.ImageHDU(np.array(aperture, dtype=np.int32), name="APERTURE")] if aperture else hdus


def test_a_target_pixel_file_is_summed_over_the_optimal_aperture(tmp_path: Path) -> None:
    """Bit 1 (value 2) marks the optimal aperture: two of the four pixels, none of which is missing."""
    graph = read(save(tmp_path / "a.fits", *pixels([[1, 3], [259 - 256, 1]], quality=[0, 0, 16])))["PIXELS"]
    flux, error = np.array([101.0 + 102.0, 105.0 + 106.0]), np.sqrt(18.0)
    scale = 2.5 / np.log(10)
    assert graph.pos.flatten().tolist() == [1.0, 2.0]
    assert graph.x[:, 0].numpy() == pytest.approx(25.1 - scale * (np.arcsinh(flux / 10) + np.log(5)), abs=1e-5)
    assert graph.x[:, 1].numpy() == pytest.approx(scale * error / np.sqrt(flux**2 + 100), rel=1e-5)
    assert (graph.notes["flagged_dropped"], graph.notes["aperture_pixels"]) == (1, 2)


def test_a_cadence_of_which_a_pixel_of_the_aperture_is_missing_has_no_flux(tmp_path: Path) -> None:
    graph = read(save(tmp_path / "a.fits", *pixels([[2, 2], [1, 1]])))["PIXELS"]
    assert graph.pos.flatten().tolist() == [1.0, 3.0]


@pytest.mark.parametrize("aperture", [None, [[1, 1], [1, 1]]])
def test_a_target_pixel_file_without_an_optimal_aperture_says_what_it_is(aperture: list[list[int]] | None, tmp_path: Path) -> None:
    with pytest.raises(EmptyGraphError, match=r"PIXELS: a target pixel file without an optimal aperture.*sum its fluxes"):
        read(save(tmp_path / "a.fits", *pixels(aperture)))


def test_an_aperture_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"pixels of another shape than APERTURE; expected images of \[1, 3\]"):
        read(save(tmp_path / "a.fits", *pixels([[2, 2, 2]])))


def test_a_table_that_means_nothing_is_named_with_its_columns(tmp_path: Path) -> None:
    with pytest.raises(EmptyGraphError, match=r"CATALOG: no form for the columns \['RA', 'NAME'\]"):
        read(save(tmp_path / "a.fits", table("CATALOG", RA=[1.0], NAME=["x"])))


def snana(folder: Path, *, photometry: str = "X_PHOT.FITS", first: tuple[int, ...] = (1, 5), last: tuple[int, ...] = (3, 6),
          filters: str = "griz", declared: str = "X_PHOT.FITS") -> Path:
    primary = fits.PrimaryHDU(header=fits.Header({"SNANA": "v11", "SURVEY": "DES", "FILTERS": filters, "PHOTFILE": declared}))
    head = table("Header", SNID=["a", "b"], NOBS=[3, 3], PTROBS_MIN=list(first), PTROBS_MAX=list(last))
    save(folder / "X_HEAD.FITS", primary, head)
    rows = table("Photometry", MJD=[1.0, 2.0, 3.0, -777.0, 7.0, 8.0, -777.0], FLT=list("gri-gz-"),
                 FLUXCAL=[10.0, 20.0, 30.0, -777.0, 70.0, 80.0, -777.0], FLUXCALERR=[1.0] * 7)
    if photometry:
        save(folder / photometry, primary.copy(), rows)
    return folder / "X_HEAD.FITS"


def test_a_pair_of_snana_tables_is_a_light_curve_a_supernova(tmp_path: Path) -> None:
    found = read(snana(tmp_path))
    assert found["a"].pos[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert found["b"].pos[:, 0].tolist() == [7.0, 8.0]
    assert found["b"].notes["nobs_mismatch"] == "NOBS 3, 2 rows"
    assert found["b"].token[:, 0].tolist() == [passband_index("g"), passband_index("z")]


@pytest.mark.parametrize(("photometry", "declared"), [("x_phot.fits", "X_PHOT.FITS"), ("X_PHOT.FITS", "OLDNAME.FITS"),
                                                      ("X_PHOT.FITS", "../../etc/X_PHOT.FITS")])
def test_the_photometry_is_found_in_the_folder_whatever_its_case_and_declared_path(photometry: str, declared: str,
                                                                                  tmp_path: Path) -> None:
    assert list(read(snana(tmp_path, photometry=photometry, declared=declared))) == ["a", "b"]


def test_a_compressed_pair_is_a_pair(tmp_path: Path) -> None:
    import gzip

    path = snana(tmp_path)
    for file in list(tmp_path.iterdir()):
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    items = list(stream(tmp_path / f"{path.name}.gz"))
    assert [item.record for item in items if isinstance(item, Graph)] == ["a", "b"]


def test_a_head_table_without_its_photometry_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"expected X_PHOT.FITS .*in the same folder"):
        read(snana(tmp_path, photometry="", declared="X_PHOT.FITS"))


def test_a_photometry_table_alone_names_the_head_file(tmp_path: Path) -> None:
    path = snana(tmp_path)
    with pytest.raises(UnreadableFileError, match="Open the HEAD file"):
        read(path.with_name("X_PHOT.FITS"))


@pytest.mark.parametrize(("first", "last", "error"), [((1, 5), (3, 99), ValueRangeError), ((1, 0), (3, -1), EmptyGraphError)])
def test_a_pointer_outside_the_photometry_costs_its_supernova_alone(first: tuple[int, ...], last: tuple[int, ...],
                                                                   error: type[GeoembedError], tmp_path: Path) -> None:
    found = {record.key: record for record in READER.records(snana(tmp_path, first=first, last=last))}
    assert isinstance(found["a"], Record)
    assert isinstance(found["b"], BadRecord)
    with pytest.raises(error, match="PTROBS"):
        raise found["b"].error


def test_filter_codes_of_a_survey_of_its_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="after the filter table of the survey"):
        read(snana(tmp_path, filters="abcdefg"))


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_two_sdss_galaxies_have_their_published_redshifts(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(SHARED / "astronomy" / "files.tar.xz") as tar:
        names = [name for name in tar.getnames() if Path(name).name.startswith("spec-0266-51602-")]
        for name in names:
            (tmp_path / Path(name).name).write_bytes(tar.extractfile(name).read())  # type: ignore[union-attr]
    found = [read(path)["COADD"] for path in sorted(tmp_path.iterdir())]
    assert [graph.provenance.settings["redshift"] for graph in found] == pytest.approx([0.121316, 0.123149], abs=1e-6)
    assert [graph.num_nodes for graph in found] == [3838, 3849]
