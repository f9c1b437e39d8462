"""Typed errors say where, what was found, what was expected and what to do next; they cross process borders."""

from __future__ import annotations

import copy
import inspect
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from geoembed import errors
from geoembed.errors import GeoembedError, SchemaError

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, GeoembedError)]


def raised(cls: type[GeoembedError] = SchemaError) -> GeoembedError:
    return cls(where=Path("a.cif"), found=["x"], expected={"y"}, remedy="Rename the column.")


@pytest.mark.parametrize("cls", CLASSES)
def test_a_message_holds_the_four_parts_in_order(cls):
    assert str(raised(cls)) == "a.cif: found ['x']; expected {'y'}. Rename the column."
    assert issubclass(cls, GeoembedError)
    assert cls.__doc__


def test_the_parts_can_be_read_one_by_one():
    error = raised()
    assert (error.where, error.found, error.expected, error.remedy) == ("a.cif", ["x"], {"y"}, "Rename the column.")


def test_every_part_must_be_given():
    with pytest.raises(TypeError, match="remedy"):
        GeoembedError(where="a", found=1, expected=2)
    with pytest.raises(TypeError):
        GeoembedError("only a message")


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_the_way_between_processes(cls):
    for other in (pickle.loads(pickle.dumps(raised(cls))), copy.copy(raised(cls))):  # noqa: S301
        assert type(other) is cls
        assert str(other) == str(raised(cls))
        assert other.remedy == "Rename the column."


def fail() -> None:
    raise raised()


def test_an_error_of_a_worker_is_the_error_of_its_parent():
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool, pytest.raises(SchemaError, match=r"a\.cif: found .*Rename"):
        pool.submit(fail).result()
