"""Leaves and butterflies as pictures, bird songs, crickets, whales and rain as sound, barcodes of three clades as letters."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import soundfile
from numpy.random import Generator, default_rng
from PIL import Image

SIDE, RATE, SECONDS = 96, 16_000, 3.0
CODE_LENGTH = 658
"""Bases of the barcode region of the gene COI of animals (Hebert et al. 2003)."""


def write(folder: Path) -> None:
    """``photo-*.png``, ``sound-*.wav`` and ``.flac``, ``dna-barcodes.fasta``, ``dna-reads.fastq.gz``."""
    rng = default_rng(96)
    for number in (1, 2, 3):
        _save(folder / f"photo-leaf-{number}.png", _leaf(rng))
        _save(folder / f"photo-butterfly-{number}.png", _butterfly(rng))
    rng = default_rng(97)
    for name, sound in _sounds(rng).items():
        soundfile.write(folder / f"sound-{name}", np.rint(sound * 32767).astype(np.int16), RATE, subtype="PCM_16")
    _barcodes(default_rng(98), folder)


def _plane() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    return (x - SIDE / 2) / (SIDE / 2), (SIDE / 2 - y) / (SIDE / 2)


def _paint(background: np.ndarray, color: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """``color`` over ``background`` [H, W, 3] where ``inside`` [H, W] is above 0, with an edge of about a pixel."""
    cover = np.clip(inside * SIDE / 3 + 0.5, 0, 1)[..., None]
    return background * (1 - cover) + color * cover


def _ground(rng: Generator, color: tuple[float, float, float]) -> np.ndarray:
    """Soft background: a color with a slow gradient."""
    x, y = _plane()
    turn = rng.uniform(0, 2 * np.pi)
    return np.array(color) * (0.9 + 0.1 * (x * np.cos(turn) + y * np.sin(turn)))[..., None]


def _leaf(rng: Generator) -> np.ndarray:
    """A blade with a midrib and side veins."""
    x, y = _plane()
    turn = rng.uniform(-0.6, 0.6)
    across, along = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    t = np.clip((along + 0.8) / 1.6, 0, 1)  # 0 at the stalk, 1 at the tip
    width = rng.uniform(0.36, 0.55) * np.sin(np.pi * t ** rng.uniform(0.6, 0.9)) + 0.02 * np.sin(26 * np.pi * t)
    green = np.array([0.20, 0.45, 0.15]) * rng.uniform(0.8, 1.25, 3)
    veins = np.abs(np.sin(22 * (t - 0.55 * np.abs(across)))) < 0.16
    blade = green * (0.8 + 0.35 * t + 0.22 * veins)[..., None]
    picture = _paint(_ground(rng, (0.93, 0.90, 0.82)), blade, np.where((t > 0) & (t < 1), width - np.abs(across), -1))
    return _paint(picture, np.array([0.72, 0.74, 0.45]), np.where(np.abs(along + 0.08) < 0.86, 0.022 * (1.15 - t) - np.abs(across), -1))


def _butterfly(rng: Generator) -> np.ndarray:
    """Two pairs of wings by one polar curve, with spots and a dark border, and a body."""
    x, y = _plane()
    radius, angle = np.hypot(x, y) * 1.18, np.arctan2(y, np.abs(x))  # mirror symmetric
    fore, hind = rng.uniform(0.85, 1.0), rng.uniform(0.6, 0.75)
    edge = fore * np.exp(-(((angle - 0.62) / 0.45) ** 2)) + hind * np.exp(-(((angle + 0.7) / 0.5) ** 2)) - 0.05 * np.cos(9 * angle)
    color = rng.permutation([0.95, rng.uniform(0.3, 0.6), 0.1])
    ring = radius / np.maximum(edge, 1e-3)
    spots = np.exp(-((ring - 0.68) ** 2) / 0.01) * (np.cos(11 * angle + rng.uniform(0, 3)) > 0.3)
    wing = color * (0.75 + 0.25 * np.cos(20 * angle) ** 2)[..., None]
    wing = wing * (1 - spots[..., None]) + np.array([1.0, 0.97, 0.85]) * spots[..., None]
    wing = np.where((ring > 0.85)[..., None], np.array([0.12, 0.08, 0.06]), wing)
    picture = _paint(_ground(rng, (0.72, 0.84, 0.70)), wing, edge - radius)
    body = np.where(np.abs(y) < 0.5, 0.05 * np.sqrt(np.clip(1 - (y / 0.5) ** 2, 0, 1)) - np.abs(x), -1)
    return _paint(picture, np.array([0.15, 0.10, 0.08]), body)


def _save(path: Path, picture: np.ndarray) -> None:
    levels = np.rint(picture.clip(0, 1) * 63).astype(np.uint8)  # 64 levels a channel: half the bytes, the same picture
    Image.fromarray(levels * 4 + levels // 16).save(path, optimize=True)


def _sounds(rng: Generator) -> dict[str, np.ndarray]:
    """Three seconds each, in −1…1."""
    birds = [_chirps(rng) for _ in range(2)]
    crickets = [_pulses(rng) for _ in range(2)]
    return {"bird-1.wav": birds[0], "bird-1.flac": birds[0], "bird-2.flac": birds[1], "cricket-1.flac": crickets[0],
            "cricket-2.flac": crickets[1], "whale-1.flac": _moan(rng), "rain-1.flac": _rain(rng)}


def _time() -> np.ndarray:
    return np.arange(int(RATE * SECONDS)) / RATE


def _hiss(rng: Generator) -> np.ndarray:
    return rng.normal(0, 0.0006, int(RATE * SECONDS))


def _chirps(rng: Generator) -> np.ndarray:
    """Notes that sweep by one or two kHz in a tenth of a second, with an overtone."""
    t, sound = _time(), _hiss(rng)
    low, sweep = rng.uniform(2200, 3200), rng.uniform(800, 2000) * rng.choice([-1, 1])
    for start in np.arange(0.15, 2.8, rng.uniform(0.24, 0.36)):
        s = t - start
        phase = 2 * np.pi * ((low + 900 * (sweep < 0)) * s + sweep * s**2 / 0.24)
        sound += 0.25 * np.exp(-(((s - 0.06) / 0.032) ** 2)) * (np.sin(phase) + 0.25 * np.sin(2 * phase))
    return sound


def _pulses(rng: Generator) -> np.ndarray:
    """A pure tone in trains of short pulses."""
    t = _time()
    rate, tone = rng.uniform(24, 34), rng.uniform(4300, 5200)
    gate = (np.mod(t * rate, 1) < 0.45) & (np.mod(t, 0.75) < 0.45)
    return 0.2 * np.sin(2 * np.pi * tone * t) * np.convolve(gate, np.hanning(65) / 32, "same") + _hiss(rng)


def _moan(rng: Generator) -> np.ndarray:
    """A deep tone that slides up and down, with overtones that fade."""
    t = _time()
    phase = 2 * np.pi * np.cumsum(170 + 70 * np.sin(2 * np.pi * t / 2.6)) / RATE
    return 0.2 * np.sin(np.pi * t / SECONDS) ** 2 * sum(np.sin(k * phase) / k**1.5 for k in (1, 2, 3, 4, 5)) + _hiss(rng)


def _rain(rng: Generator) -> np.ndarray:
    """Drops: short clicks of random strength over a soft hiss."""
    sound = rng.normal(0, 0.004, int(RATE * SECONDS))
    drops = rng.integers(0, len(sound) - 200, 90)
    click = np.exp(-np.arange(200) / 25) * np.sin(np.arange(200) * 1.9)
    for place, strength in zip(drops, rng.exponential(0.06, 90), strict=True):
        sound[place : place + 200] += strength * click
    return sound.clip(-1, 1)


def _barcodes(rng: Generator, folder: Path) -> None:
    """18 sequences of three clades, the first one again as the opposite strand; six reads with qualities."""
    root = rng.integers(0, 4, CODE_LENGTH)
    third = np.arange(CODE_LENGTH) % 3 == 2  # third positions of codons change most
    lines, names = [], ("moth", "beetle", "wasp")
    stems = [_evolved(rng, root, np.where(third, 0.30, 0.04)) for _ in names]
    for name, stem in zip(names, stems, strict=True):
        for number in range(1, 7):
            text = _text(_evolved(rng, stem, np.where(third, 0.05, 0.005)))
            if number in (3, 5):  # a base that two strands disagree on, and one that nobody read
                text = text[:100] + {"C": "Y", "T": "Y"}.get(text[100], "R") + text[101:640] + "N" + text[641:]
            lines += [f">{name}_{number}", *(text[i : i + 70] for i in range(0, len(text), 70))]
            if (name, number) == ("moth", 1):
                other = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
                lines += [f">{name}_{number}_opposite_strand", *(other[i : i + 70] for i in range(0, len(other), 70))]
    (folder / "dna-barcodes.fasta").write_text("\n".join([*lines, ""]))
    reads = []
    for number in range(1, 7):
        text = _text(_evolved(rng, stems[2], np.full(CODE_LENGTH, 0.01)))[:250]
        quality = "".join(chr(33 + q) for q in np.clip(38 - np.arange(250) // 12 - rng.integers(0, 5, 250), 2, 40))
        reads += [f"@wasp_read{number}", text, "+", quality]
    (folder / "dna-reads.fastq.gz").write_bytes(gzip.compress("\n".join([*reads, ""]).encode(), mtime=0))


def _evolved(rng: Generator, parent: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """A descendant: each base is replaced by another one with probability ``rate``."""
    changed = rng.random(len(parent)) < rate
    return np.where(changed, (parent + rng.integers(1, 4, len(parent))) % 4, parent)


def _text(bases: np.ndarray) -> str:
    return "".join("ACGT"[base] for base in bases)
