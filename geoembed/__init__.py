"""geoembed: a scientific file becomes a graph, a graph a unit vector, vectors a table that can be searched.

>>> import geoembed as ge
>>> ge.chain_graph.from_sequence("ACGTN", modality="sequence")
Graph(sequence: 5 nodes, 16 edges, rule offsets)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from geoembed import encoders as encoders
    from geoembed import errors as errors
    from geoembed import trust as trust
    from geoembed import viz as viz
    from geoembed.encoders import BioacousticEncoder as BioacousticEncoder
    from geoembed.encoders import CrystalGraphEncoder as CrystalGraphEncoder
    from geoembed.encoders import DNABarcodeEncoder as DNABarcodeEncoder
    from geoembed.encoders import Encoder as Encoder
    from geoembed.encoders import GalaxyMorphologyEncoder as GalaxyMorphologyEncoder
    from geoembed.encoders import JetEncoder as JetEncoder
    from geoembed.encoders import ParticleCloudEncoder as ParticleCloudEncoder
    from geoembed.encoders import SatelliteImageEncoder as SatelliteImageEncoder
    from geoembed.encoders import SpeciesImageEncoder as SpeciesImageEncoder
    from geoembed.encoders import SpectrumEncoder as SpectrumEncoder
    from geoembed.encoders import TransientLightCurveEncoder as TransientLightCurveEncoder
    from geoembed.encoders import WeatherStateEncoder as WeatherStateEncoder
    from geoembed.errors import GeoembedError as GeoembedError
    from geoembed.graphs.chain import chain_graph as chain_graph
    from geoembed.graphs.chain import light_curve_graph as light_curve_graph
    from geoembed.graphs.chain import spectrum_graph as spectrum_graph
    from geoembed.graphs.cloud import cloud_graph as cloud_graph
    from geoembed.graphs.cloud import particle_class as particle_class
    from geoembed.graphs.clouds import clouds_from_awkward as clouds_from_awkward
    from geoembed.graphs.crystal import crystal_graph as crystal_graph
    from geoembed.graphs.crystal import crystal_graphs as crystal_graphs
    from geoembed.graphs.grid import grid_graph as grid_graph
    from geoembed.graphs.icosahedron import icosahedral_mesh as icosahedral_mesh
    from geoembed.graphs.lit_pixels import lit_pixel_graph as lit_pixel_graph
    from geoembed.graphs.refinement import refined_mesh as refined_mesh
    from geoembed.graphs.sphere import sphere_graph as sphere_graph
    from geoembed.io import read as read
    from geoembed.io import sample as sample
    from geoembed.io.column_map import ColumnMap as ColumnMap
    from geoembed.nn import CrystalGraphConv as CrystalGraphConv
    from geoembed.pipeline import Report as Report
    from geoembed.pipeline.build import build as build
    from geoembed.pipeline.embed import embed as embed
    from geoembed.schema import Graph as Graph
    from geoembed.schema import GraphBatch as GraphBatch
    from geoembed.store import Loader as Loader
    from geoembed.store import open_store as open_store
    from geoembed.store import open_table as open_table

# Names and where they live; a name is imported when it is first used, so ``geoembed --help`` loads no torch.
_HOMES = {
    "errors": "", "trust": "", "encoders": "", "viz": "", "GeoembedError": "errors",
    "read": "io", "sample": "io",
    "build": "pipeline", "embed": "pipeline", "Report": "pipeline", "open_table": "store", "open_store": "store",
    "Loader": "store",
    "crystal_graph": "graphs.crystal", "crystal_graphs": "graphs.crystal", "cloud_graph": "graphs.cloud", "particle_class": "graphs.cloud",
    "clouds_from_awkward": "graphs.clouds", "ColumnMap": "io.column_map",
    "sphere_graph": "graphs.sphere", "icosahedral_mesh": "graphs.icosahedron", "refined_mesh": "graphs.refinement",
    "grid_graph": "graphs.grid",
    "lit_pixel_graph": "graphs.lit_pixels",
    "chain_graph": "graphs.chain", "light_curve_graph": "graphs.chain", "spectrum_graph": "graphs.chain",
    "Graph": "schema", "GraphBatch": "schema", "CrystalGraphConv": "nn", "Encoder": "encoders",
    "GalaxyMorphologyEncoder": "encoders", "TransientLightCurveEncoder": "encoders", "SpectrumEncoder": "encoders",
    "WeatherStateEncoder": "encoders", "SatelliteImageEncoder": "encoders", "CrystalGraphEncoder": "encoders",
    "ParticleCloudEncoder": "encoders", "JetEncoder": "encoders", "SpeciesImageEncoder": "encoders",
    "BioacousticEncoder": "encoders", "DNABarcodeEncoder": "encoders",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'geoembed' has no attribute {name!r}; it has {', '.join(__all__)}")
    home = _HOMES[name]
    value = getattr(import_module(f"geoembed.{home}"), name) if home else import_module(f"geoembed.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
