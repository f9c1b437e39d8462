"""Sound files to spectrogram grids: streamed in blocks, cut into windows at exact samples, one record a window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from geoembed.errors import ConfigError, EmptyGraphError, TruncatedFileError, UnreadableFileError
from geoembed.graphs.grid import grid_graph
from geoembed.io.audio_ending import Ending, ending_of, mp3_frame, mp3_starts
from geoembed.io.budget import check_budget
from geoembed.io.extras import require
from geoembed.io.record import Record
from geoembed.io.spectrogram import FLOOR, FRAME, HOP, ULTRASONIC, check_rate, log_mel, top_frequency
from geoembed.schema import Graph, Scalar

FRAMES = 200
"""Time frames of a window, whatever its length: 15 ms steps in the default window of 3 s."""

PATCH = 8

_BLOCK = 8192  # samples read at a time: what is decoded before damage is lost at most up to one block
_MPEG_SLACK = 2 * 1152  # MP3 decoders disagree with the count by their start-up delay, at most two frames


@dataclass(frozen=True)
class Sound:
    """Payload of a record: samples [T] float32, channels averaged, at ``rate`` a second."""

    samples: Tensor
    rate: int


class Audio:
    """Recordings as WAV, FLAC, Ogg (Vorbis, Opus), MP3 or AIFF at any rate -> log-mel grids of 128 bands × 200 frames.

    A record is a window of ``window`` seconds, ⌈window · rate⌉ samples; its key is its start time (``"6.000s"``). Windows
    start every ``step`` seconds (default: no overlap), window k at sample ⌊k · step · rate⌋, so times do not drift. A file of n
    samples has max(1, ⌈(n − overlap) / step⌉) windows (in samples; where a step is no whole number of samples, up to the
    rounding); the last is filled with unmeasured frames, and nothing of the sound is left out.

    x is 1 + dB / 100: 0 at the floor of −100 dB, 1 at full scale (mean square 1). The mel scale ends at 16 kHz, and bands
    above a file's Nyquist frequency are unmeasured; above 64,000 samples a second it ends at the file's own Nyquist
    frequency, so that bats are heard (noted as ``ultrasonic``). Channels are averaged, and noted.

    A file that ends before its container says, or breaks in the middle, gives its whole windows and then
    :class:`TruncatedFileError` or :class:`UnreadableFileError`: never a shorter record. No sample: :class:`EmptyGraphError`.
    """

    kind = "grid"
    suffixes = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc")

    def __init__(self, window: float = 3.0, step: float | None = None) -> None:
        # By way of the decimal text: 0.1 s is then a tenth, not 0.1000000000000000055
        self.window, self.step = Fraction(str(window)), Fraction(str(window if step is None else step))
        if not Fraction(1, 1000) <= self.step <= self.window:
            raise ConfigError(
                where="Audio", found=f"window {window} s, step {step} s", expected="0.001 ≤ step ≤ window",
                remedy="A step beyond the window would leave sound out.",
            )

    def can_open(self, head: bytes, name: str) -> bool:
        """By magic; a bare MPEG stream by a chain of frames, or one frame and the suffix."""
        if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
            return head[8:12] == b"WAVE"
        if head[:4] == b"FORM":
            return head[8:12] in (b"AIFF", b"AIFC")
        mpeg = head[:3] == b"ID3" or (mp3_frame(head) is not None and (name.endswith(".mp3") or mp3_starts(head) == 0))
        return head[:4] in (b"fLaC", b"OggS") or mpeg

    def records(self, path: Path) -> Iterator[Record]:
        """Windows in order of time; memory is that of a window, whatever the length of the file."""
        soundfile = require("soundfile", "ecology")
        ending = ending_of(path)
        try:
            sound = _forward(soundfile)(str(path))
        except soundfile.LibsndfileError as error:
            raise _broken(path, ending, error.error_string, 0) from error
        with sound:
            check_rate(path, sound.samplerate)
            window = ceil(self.window * sound.samplerate)  # not less, so that no sample falls between two windows
            check_budget(path, (max(window, _BLOCK), sound.channels), 8)
            notes: dict[str, Scalar] = {"rate": sound.samplerate, **ending.notes}
            if sound.channels > 1:
                notes["channels_averaged"] = sound.channels
            if sound.samplerate > ULTRASONIC:
                notes["ultrasonic"] = True
            blocks = _blocks(sound, path, ending, soundfile.LibsndfileError)
            for start, samples in self._windows(blocks, sound.samplerate, window):
                short = {"padded_samples": window - len(samples)} if len(samples) < window else {}
                payload = Sound(samples, sound.samplerate)
                yield Record(f"{start / sound.samplerate:.3f}s", payload, {**notes, "start_sample": start, **short})

    def _windows(self, blocks: Iterator[Tensor], rate: int, window: int) -> Iterator[tuple[int, Tensor]]:
        """(first sample, samples) of each window; only the last may be shorter."""
        parts: list[Tensor] = []  # blocks from sample ``start`` on, or from the end of the sound before it
        held, k, start, end = 0, 0, 0, 0
        for block in blocks:
            parts.append(block)
            held += len(block)
            if held < window:
                continue
            sound, begin = torch.cat(parts), start
            while begin + len(sound) - start >= window:
                end = start + window
                yield start, sound[start - begin : end - begin].clone()
                k += 1
                start = int(k * self.step * rate)
            parts, held = [sound[start - begin :]], begin + len(sound) - start
        if k == 0 or start + held > end:  # with overlap, the last window may have reached the end already
            yield start, torch.cat(parts)

    def to_graph(self, record: Record) -> Graph:
        """Grid of 16 × 25 patches of 8 × 8; row 0 holds the lowest bands."""
        sound: Sound = record.payload
        hop = float(self.window) / FRAMES
        power, measured = log_mel(sound.samples, sound.rate, frames=FRAMES, frame=hop * FRAME / HOP, hop=hop)
        graph = grid_graph((1.0 - power / FLOOR).unsqueeze(0), patch=PATCH, mask=measured, modality="spectrogram")
        return graph.with_provenance(notes={"top_hz": top_frequency(sound.rate)})


def _forward(soundfile: ModuleType) -> Any:
    """A ``SoundFile`` that only reads on. The original seeks to where it is after each block, and in MP3 with a variable bit
    rate lands beside it: whole frames are lost or silent."""
    return type("_Forward", (soundfile.SoundFile,), {"seekable": lambda self: False})


def _blocks(sound: Any, path: Path, ending: Ending, failure: type[Exception]) -> Iterator[Tensor]:
    """Blocks [≤ 8192] of the mean over channels; raises at the end where the file fell short of what it declares."""
    count = 0
    while True:
        try:
            block = sound.read(_BLOCK, dtype="float32", always_2d=True)
        except failure as error:
            text = f"{getattr(error, 'error_string', error)} after {count} samples"
            broken = ending if ending.found else Ending(text, f"the {sound.frames} that the header declares")
            raise _broken(path, broken, "", count) from error
        if not len(block):
            break
        count += len(block)
        yield torch.from_numpy(block).mean(1)
    slack = _MPEG_SLACK if "MPEG" in sound.subtype else 0
    if ending.found:
        raise _broken(path, ending, "", count)
    if count == 0:
        raise EmptyGraphError(where=path, found="no samples", expected="sound", remedy="The recorder wrote nothing but a header.")
    if count < sound.frames - slack and sound.frames < 1 << 62:  # an unknown length is declared as the largest integer
        raise _broken(path, Ending(f"{count} samples", f"the {sound.frames} that the header declares"), "", count)


def _broken(path: Path, ending: Ending, error: str, count: int) -> TruncatedFileError | UnreadableFileError:
    """The typed error of a file that stops before its end or does not decode."""
    remedy = ending.remedy + ("; its whole windows before the break are kept." if count else ".")
    if ending.found:
        found = f"{ending.found} ({count} samples decoded)"
        return TruncatedFileError(where=path, found=found, expected=ending.expected, remedy=remedy)
    return UnreadableFileError(where=path, found=error.strip(), expected="a recording that decodes", remedy=remedy)
