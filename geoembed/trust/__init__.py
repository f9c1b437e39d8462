"""Whether an encoder can be trusted: its symmetries measured, and its laws as tests."""

from geoembed.trust.contract import EncoderContract
from geoembed.trust.invariance import Deviation, InvarianceReport, check

__all__ = ["Deviation", "EncoderContract", "InvarianceReport", "check"]
