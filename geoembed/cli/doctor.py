"""``geoembed doctor``: versions, devices, back ends, and what is missing with its remedy."""

from __future__ import annotations

import platform
import sys
from typing import Any

from geoembed.cli.options import AsJson

EXTRAS = {
    "materials": ("ase", "gemmi"), "particles": ("uproot", "awkward", "h5py"),
    "climate": ("xarray", "netCDF4", "h5py", "zarr", "eccodes"), "satellite": ("rasterio", "PIL"),
    "astronomy": ("astropy", "PIL", "h5py"), "ecology": ("PIL", "soundfile"), "plot": ("matplotlib",), "cluster": ("distributed",),
    "index": ("lancedb",), "anndata": ("anndata",), "s3": ("s3fs",),
}
CORE = ("geoembed", "torch", "torch-geometric", "numpy", "pymatgen", "e3nn", "networkx", "pyarrow", "safetensors")


def doctor(as_json: AsJson = False) -> None:
    """Versions, devices, live back ends, missing extras and broken plug-ins, each with its remedy.

    Example: geoembed doctor
    """
    from geoembed.cli.console import print_json, quiet_libraries
    from geoembed.cli.console import table as show

    quiet_libraries()
    found = examine()
    if as_json:
        print_json(found)
        return
    show("versions", ("library", "version"), list(found["versions"].items()))
    show("devices", ("device", "what"), list(found["devices"].items()))
    show("back ends", ("name", "live", "why"), [(b["name"], "yes" if b["live"] else "no", b["reason"]) for b in found["backends"]])
    show("extras", ("extra", "state"), list(found["extras"].items()))
    if found["broken_plugins"]:
        show("broken plug-ins", ("plug-in", "reason"), list(found["broken_plugins"].items()))


def examine() -> dict[str, Any]:
    """Everything that ``doctor`` shows, as plain data."""
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    import torch

    from geoembed import ops, registry

    versions = {"python": platform.python_version(), "platform": f"{sys.platform} {platform.machine()}"}
    for name in CORE:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = f"not installed (pip install {name})"
    devices = {"cpu": f"{torch.get_num_threads()} threads"}
    devices |= {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    extras = {}
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        extras[extra] = f"missing {', '.join(missing)}: pip install 'geoembed[{extra}]'" if missing else "complete"
    broken = {f"{group}: {name}": reason for group in registry.GROUPS for name, reason in registry.broken(group).items()}
    backends = [{"name": b.name, "live": b.live, "reason": b.reason} for b in ops.backends.report()]
    return {"versions": versions, "devices": devices, "backends": backends, "extras": extras, "broken_plugins": broken}
