"""What a saved encoder is, in one word: two of them make comparable vectors exactly if they have the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from geoembed.errors import StoreError


def weights_id(folder: Path) -> str:
    """Hash of a saved encoder: its class, its configuration and its weights; :class:`StoreError` where it is not whole."""
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        about = json.dumps([document.get("encoder"), document.get("config")], sort_keys=True)
        return hashlib.sha256(about.encode() + (folder / "model.safetensors").read_bytes()).hexdigest()[:16]
    except (OSError, ValueError) as error:
        raise StoreError(where=folder, found=f"no saved encoder ({error})", expected="config.json and model.safetensors",
                         remedy="Restore the folder, or embed again into another table.") from error
