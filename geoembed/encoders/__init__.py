"""Eleven thin encoders: graphs of one kind in, unit vectors out."""

from geoembed.encoders.base import Encoder
from geoembed.encoders.bioacoustic import BioacousticConfig, BioacousticEncoder
from geoembed.encoders.crystal import CrystalGraphConfig, CrystalGraphEncoder
from geoembed.encoders.dna import DNABarcodeConfig, DNABarcodeEncoder
from geoembed.encoders.galaxy import GalaxyConfig, GalaxyMorphologyEncoder
from geoembed.encoders.jet import JetConfig, JetEncoder
from geoembed.encoders.particle_cloud import ParticleCloudConfig, ParticleCloudEncoder
from geoembed.encoders.pretrained import default_encoder, encoder_for, find_weights, load, named_encoder, weight_names
from geoembed.encoders.satellite import SatelliteConfig, SatelliteImageEncoder
from geoembed.encoders.species import SpeciesConfig, SpeciesImageEncoder
from geoembed.encoders.spectrum import SpectrumConfig, SpectrumEncoder
from geoembed.encoders.transient import TransientConfig, TransientLightCurveEncoder
from geoembed.encoders.weather import WeatherConfig, WeatherStateEncoder

__all__ = [
    "BioacousticConfig", "BioacousticEncoder", "CrystalGraphConfig", "CrystalGraphEncoder", "DNABarcodeConfig", "DNABarcodeEncoder",
    "Encoder", "GalaxyConfig", "GalaxyMorphologyEncoder", "JetConfig", "JetEncoder", "ParticleCloudConfig", "ParticleCloudEncoder",
    "SatelliteConfig", "SatelliteImageEncoder", "SpeciesConfig", "SpeciesImageEncoder", "SpectrumConfig", "SpectrumEncoder",
    "TransientConfig", "TransientLightCurveEncoder", "WeatherConfig", "WeatherStateEncoder", "default_encoder", "encoder_for",
    "find_weights", "load", "named_encoder", "weight_names",
]
