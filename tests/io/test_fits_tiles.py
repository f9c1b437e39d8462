"""Tiles of HCOMPRESS images: their claimed size is compared with their place before a decoder writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from geoembed.errors import UnreadableFileError, UnsafeFileError
from geoembed.graphs.grid import image_of
from geoembed.io.fits import Fits
from geoembed.io.record import Record

IMAGE = np.arange(2250, dtype=np.int16).reshape(50, 45)


def save(path: Path, **settings: object) -> Path:
    unit = fits.CompImageHDU(IMAGE, compression_type="HCOMPRESS_1", **settings)
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path)
    return path


@pytest.mark.parametrize("settings", [{}, {"tile_shape": (23, 20)}, {"tile_shape": (50, 45)}])
def test_tiles_of_any_shape_are_the_image(settings: dict[str, object], tmp_path: Path) -> None:
    [record] = Fits().records(save(tmp_path / "a.fits", **settings))
    assert isinstance(record, Record)
    assert torch.equal(image_of(Fits().to_graph(record))[0][0], torch.from_numpy(IMAGE.astype(np.float32)))


@pytest.mark.parametrize("size", [b"\0\0\0\x17\0\0\xff\xff", b"\x7f\xff\xff\xff\0\0\0\x14", b"\xff\xff\xff\xff\0\0\0\x14"])
def test_a_tile_that_claims_more_pixels_than_its_place_is_refused(size: bytes, tmp_path: Path) -> None:
    path = save(tmp_path / "a.fits", tile_shape=(23, 20))
    head = b"\xdd\x99\0\0\0\x17\0\0\0\x14"  # magic number, 23 rows, 20 columns
    content = path.read_bytes()
    assert head in content
    path.write_bytes(content.replace(head, head[:2] + size, 1))
    with pytest.raises(UnsafeFileError, match=r"tile 0 of .*expected 23 × 20.*written beyond its place"):
        list(Fits().records(path))


def test_an_image_that_declares_more_tiles_than_it_has_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.fits", tile_shape=(23, 20))
    content, card = path.read_bytes(), b"ZTILE1  =                   20"
    assert card in content
    path.write_bytes(content.replace(card, card[:-2] + b" 9"))
    with pytest.raises(UnreadableFileError, match="9 compressed tiles; expected 15"):
        list(Fits().records(path))
