"""Which triangle lies beyond a side, and which lie round a corner, on any level of the refined icosahedron, by arithmetic.

A side or corner is the code 4f + k: side k of face f goes from its corner k to the next. The children of face f are the faces
4f … 4f + 3: those at corners 0, 1, 2 (corner, middle of its side, middle of the side before), and the middle one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoembed.graphs.icosahedron import icosahedron
from geoembed.graphs.multimesh import first_level

Int = NDArray[np.int64]


def across(code: Int, level: int) -> Int:
    """The side [S], of the face beyond, that is the same edge as each side ``code`` [S] of faces of ``level``.

    >>> bool((across(across(np.arange(80), 1) , 1) == np.arange(80))[np.arange(80) % 4 < 3].all())  # there and back
    True
    """
    if level == 0:
        first = first_level(icosahedron()[1])
        beyond = np.full(80, -1)
        beyond[first.left], beyond[first.right] = first.right, first.left
        return beyond[code]
    face, k = code >> 2, code & 3
    child, parent = face & 3, face & ~3
    # Inside the parent: the middle child and the child at a corner share the side between the midpoints.
    inner = np.where(child == 3, 4 * (parent + (k + 1) % 3) + 1, 4 * (parent + 3) + (child + 2) % 3)
    # On its border: half of its side, the first (k = 0) or the second (k = 2); seen from beyond, the other one.
    outer = (child < 3) & (k != 1)
    beyond = across(np.where(k == 0, face, parent + (child + 2) % 3)[outer], level - 1)
    inner[outer] = np.where(k[outer] == 0, 4 * ((beyond & ~3) + (beyond + 1 & 3) % 3) + 2, 4 * beyond)
    return inner


def around(corner: Int, level: int) -> Int:
    """The faces [·] of ``level``, each once, that meet at any of the corners 4f + k [S]."""
    faces = [corner >> 2]
    for _ in range(5):  # six faces meet at a corner, five at those of the icosahedron
        beyond = across(corner, level)
        corner = (beyond & ~3) + (beyond + 1 & 3) % 3
        faces.append(corner >> 2)
    return np.unique(np.concatenate(faces))
