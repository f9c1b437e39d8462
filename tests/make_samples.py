"""Make the sample files of ``geoembed demo``: generated from formulas and lattice parameters, the same ones every time.

    python tests/make_samples.py [FOLDER]        (default: geoembed/samples)
"""

from __future__ import annotations

import sys
from pathlib import Path

from sample_files import collisions, crystals, curves, galaxies, life, scenes, weather

SAMPLES = Path(__file__).resolve().parents[1] / "geoembed" / "samples"


def make_samples(folder: Path) -> list[Path]:
    """Write all sample files into ``folder``; their paths, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in (crystals, collisions, weather, galaxies, curves, scenes, life):
        part.write(folder)
    return sorted(folder.iterdir())


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    for old in place.glob("*"):
        old.unlink()
    written = make_samples(place)
    print(f"{len(written)} files, {sum(path.stat().st_size for path in written) / 1e6:.2f} MB in {place}")
