"""Symmetry operations of a CIF block: as listed, else of the space group that is named. Both are remembered by their text."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from geoembed.errors import UnknownNameError, UnsafeFileError
from geoembed.io import cif_checks as checks
from geoembed.io.cif_items import BlockItems, unquoted
from geoembed.io.extras import require
from geoembed.io.sites import Array, Ints
from geoembed.schema import Scalar

_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz_")
_MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_operation_mxmymz_xyz")
_CENTERING = ("_space_group_symop_magn_centering_xyz",)
_HALL = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_HERMANN_MAUGUIN = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_symmetry_space_group_name_H_M")
_NUMBER = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_REMEMBERED = 256  # kinds of special positions of one group
_LARGEST = 192
"""Operations of the largest space groups (Fm-3m and its kin), in the cell of the tables."""


@dataclass(frozen=True, eq=False)
class Operations:
    """Symmetry operations of one description: rotation [M, 3, 3], translation [M, 3], and what reading them took for granted."""

    rotation: Array
    translation: Array
    notes: dict[str, Scalar] = field(default_factory=dict)
    _first_images: dict[bytes, NDArray[np.bool_]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def only_identity(self) -> bool:
        """Whether the operations move nothing."""
        return len(self.rotation) == 1 and bool((self.rotation[0] == np.eye(3)).all() and (self.translation % 1 == 0).all())

    @cached_property
    def _columns(self) -> Array:
        return np.ascontiguousarray(self.rotation.transpose(2, 0, 1).reshape(3, -1))  # [3, 3 M]

    def images(self, coordinates: Array) -> Array:
        """Images [n, M, 3] of fractional coordinates [n, 3]."""
        return (coordinates @ self._columns).reshape(len(coordinates), -1, 3) + self.translation

    def first_images(self, fixed: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """Which operations [M] make the images of a point that ``fixed`` [M] leave where it is, each image once: the first.

        None where the operations are no group.
        """
        if self._products is None:
            return None
        key = fixed.tobytes()
        if (found := self._first_images.get(key)) is None:
            if len(self._first_images) > _REMEMBERED:
                self._first_images.clear()
            cosets = self._products[:, fixed].min(axis=1, initial=len(fixed))
            found = self._first_images[key] = cosets == np.arange(len(fixed))
        return found

    @cached_property
    def _products(self) -> Ints | None:
        """[M, M] which operation the product of two is, up to lattice translations; None where one is not in the list."""
        count = len(self.rotation)
        if count > _LARGEST:
            return None
        rotation = np.einsum("aij,bjk->abik", self.rotation, self.rotation).reshape(-1, 9)
        translation = (np.einsum("aij,bj->abi", self.rotation, self.translation) + self.translation[:, None]).reshape(-1, 3)
        products, own = _signature(rotation, translation), _signature(self.rotation.reshape(-1, 9), self.translation)
        order = own.argsort()
        place = order[np.searchsorted(own, products, sorter=order).clip(max=count - 1)]
        # A list with a double, or with an operation that has no signature (NaN, equal to nothing), is none either.
        return place.reshape(count, count) if len(np.unique(own)) == count and bool((own[place] == products).all()) else None

    @cached_property
    def _change(self) -> Array:
        """Q [9, 9]: ``g @ Q @ g`` is the sum of squares of what the rotations change in a metric tensor g, written as 9 numbers."""
        turned = self.rotation.transpose(0, 2, 1)
        change = np.einsum("mij,mkl->mikjl", turned, turned).reshape(-1, 9, 9) - np.eye(9)  # vec(R'GR - G) = (R' ⊗ R' - 1) vec(G)
        return np.asarray(np.einsum("mij,mik->jk", change, change))

    def keep_lengths(self, cell: Array) -> bool:
        """Whether they are isometries of a crystal with these lattice vectors (rows), to a thousandth."""
        metric = (cell @ cell.T).ravel()
        return float(metric @ self._change @ metric) <= 1e-6 * float(metric @ metric)


def _signature(rotation: Array, translation: Array) -> Array:
    """One number an operation, equal for equal ones: elements -1…1 in base 3, translations in multiples of 1/24."""
    steps = np.round(translation * 24) % 24
    code = np.round(rotation + 1) @ 3.0 ** np.arange(9) * 24**3 + steps @ 24.0 ** np.arange(3)
    # Elements beyond -1…1, or translations between the multiples, belong to no space group of the tables: equal to nothing.
    odd = (np.abs(rotation) > 1).any(axis=1) | (np.abs(translation * 24 - np.round(translation * 24)) > 1e-3).any(axis=1)
    return np.where(odd, np.nan, code)


_IDENTITY = Operations(np.eye(3)[None], np.zeros((1, 3)))
_NOT_GIVEN = Operations(np.eye(3)[None], np.zeros((1, 3)), {"symmetry": "not given, read as P 1"})


def operations_of(items: BlockItems, where: str) -> Operations:
    """Symmetry operations: as listed, else of the group that is named, else (noted) the identity alone."""
    listed = items.raw(*_MAGNETIC) or items.raw(*_OPERATIONS)
    try:
        found = _listed(tuple(listed), tuple(items.raw(*_CENTERING))) if listed else None
        return found or _group(items.value(*_HALL), items.value(*_HERMANN_MAUGUIN), items.value(*_NUMBER), where)
    except UnsafeFileError as error:
        raise UnsafeFileError(where=f"{where}: {error.where}", found=error.found, expected=error.expected,
                              remedy=error.remedy) from error


@lru_cache(maxsize=512)
def _listed(written: tuple[str, ...], centerings: tuple[str, ...]) -> Operations | None:
    """Operations as written, times the centering translations, the identity added where it was left out; None where all are null."""
    texts, centering = unquoted(written), unquoted(centerings)
    if not texts:
        return None
    if len(texts) * max(len(centering), 1) > 2000:
        raise UnsafeFileError(where="symmetry operations", found=len(texts), expected="at most 192 × centerings",
                              remedy="List each operation once.")
    parsed = [checks.symmetry_operation(text) for text in texts]
    rotation, translation = np.array([one[0] for one in parsed]), np.array([one[1] for one in parsed])
    notes: dict[str, Scalar] = {}
    if snapped := sum(one[2] for one in parsed):
        notes["translations_snapped"] = snapped
    if centering:
        shift = np.array([checks.symmetry_operation(text)[1] for text in centering])
        translation = (translation[:, None] + shift).reshape(-1, 3)
        rotation = np.repeat(rotation, len(shift), axis=0)
    if not ((rotation == np.eye(3)).all(axis=(1, 2)) & (translation % 1 == 0).all(axis=1)).any():
        notes["identity_added"] = True
        rotation, translation = np.concatenate([np.eye(3)[None], rotation]), np.concatenate([np.zeros((1, 3)), translation])
    return Operations(rotation, translation, notes)


def _group(hall: str, name: str, number: str, where: str) -> Operations:
    if not (hall or name or number):
        return _NOT_GIVEN
    found = _named(hall, name, number)
    if found is None:
        raise UnknownNameError(where=f"{where}: space group", found=hall or name or number,
                               expected="a space group of the tables", remedy="List its symmetry operations.")
    return found


@lru_cache(maxsize=512)
def _named(hall: str, name: str, number: str) -> Operations | None:
    """Operations of the space group of a Hall symbol, else a Hermann–Mauguin symbol, else a number; None where it has none."""
    gemmi = require("gemmi", "materials")
    group, source = None, ""
    if hall:
        try:
            group, source = gemmi.symops_from_hall(hall), f"Hall symbol {hall}"
        except RuntimeError:  # not a Hall symbol; the other names decide
            group = None
    if group is None and name and (found := gemmi.find_spacegroup_by_name(name)):
        group, source = found.operations(), f"name {name}"
    if group is None and number.isdigit() and (found := gemmi.find_spacegroup_by_number(int(number))):
        group, source = found.operations(), f"number {number}"
    if group is None:
        return None
    operations = list(group)
    if len(operations) == 1:
        return _IDENTITY
    return Operations(
        np.array([op.rot for op in operations], dtype=np.float64) / gemmi.Op.DEN,
        np.array([op.tran for op in operations], dtype=np.float64) / gemmi.Op.DEN,
        {"symmetry": f"operations not listed, taken from the {source}"},
    )
