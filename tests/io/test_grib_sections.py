"""Messages of several fields, cut by the rules of the format; sections that lie are found before a decoder follows them."""

import eccodes
import numpy as np
import pytest
from geoembed.errors import UnreadableFileError
from geoembed.io.grib_sections import split_fields

from climate_files import grib_bytes, temperature, write_multi_field

T = temperature()[0]


def decoded(message):
    handle = eccodes.codes_new_from_message(message)
    eccodes.codes_set(handle, "missingValue", 1e34)
    found = eccodes.codes_get(handle, "shortName"), eccodes.codes_get_values(handle)
    eccodes.codes_release(handle)
    return found


def sections(message):
    """(number, start, length) of each section of an edition 2 message."""
    place, found = 16, []
    while message[place : place + 4] != b"7777":
        length = int.from_bytes(message[place : place + 4], "big")
        found.append((message[place + 4], place, length))
        place += length
    return found


@pytest.mark.parametrize("edition", [1, 2])
def test_message_of_one_field_stays_as_it_is(edition):
    message = grib_bytes(T, edition=edition)
    (field,) = split_fields(message, "t")
    assert field.content == message
    assert field.grid in message


def test_each_field_of_a_message_decodes_to_its_own_values(tmp_path):
    parts = [grib_bytes(T + number, name) for number, name in enumerate(("u", "v", "t"))]
    fields = split_fields(write_multi_field(tmp_path / "t.grib2", parts).read_bytes(), "t")
    assert len(fields) == 3
    for field, part in zip(fields, parts, strict=True):
        name, values = decoded(field.content)
        assert name == decoded(part)[0]
        np.testing.assert_array_equal(values, decoded(part)[1])


def test_field_that_refers_to_the_bitmap_before_it_gets_that_bitmap():
    missing = np.zeros((13, 24), bool)
    missing[3] = True
    message = grib_bytes(T, missing=missing)
    by_number = {number: message[start : start + length] for number, start, length in sections(message)}
    same = (6).to_bytes(4, "big") + bytes([6, 254])
    body = b"".join(by_number[n] for n in range(1, 8) if n in by_number) + by_number[4] + by_number[5] + same + by_number[7]
    both = message[:8] + (16 + len(body) + 4).to_bytes(8, "big") + body + b"7777"
    first, second = (decoded(field.content)[1] for field in split_fields(both, "t"))
    np.testing.assert_array_equal(first, second)
    assert (second.reshape(13, 24)[3] == 1e34).all()


@pytest.mark.parametrize("edition", [1, 2])
def test_section_beyond_its_message_is_refused(edition):
    message = bytearray(grib_bytes(T, edition=edition))
    if edition == 2:
        _, start, _ = sections(bytes(message))[3]
        message[start : start + 4] = (10**6).to_bytes(4, "big")
    else:
        start = 8 + int.from_bytes(message[8:11], "big")
        message[start : start + 3] = (10**6).to_bytes(3, "big")
    with pytest.raises(UnreadableFileError, match=r"section \d of 1000000 bytes.*fetch the file again"):
        split_fields(bytes(message), "t")


def test_other_editions_are_named():
    message = bytearray(grib_bytes(T))
    message[7] = 3
    with pytest.raises(UnreadableFileError, match="edition 3"):
        split_fields(bytes(message), "t")
