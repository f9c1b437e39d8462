"""The fourteen laws on all eleven encoders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from geoembed import encoders as e
from geoembed.errors import EmptyGraphError
from geoembed.graphs.chain import chain_graph, light_curve_graph, spectrum_graph
from geoembed.graphs.cloud import cloud_graph
from geoembed.graphs.crystal import crystal_graph
from geoembed.graphs.grid import grid_graph
from geoembed.graphs.sequence import ALPHABET
from geoembed.graphs.sphere import sphere_graph
from geoembed.schema import Graph, Provenance
from geoembed.trust import EncoderContract
from pymatgen.core import Lattice, Structure
from torch import Tensor

from generators import crystal


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestCrystal(EncoderContract):
    encoder_class = e.CrystalGraphEncoder
    config = e.CrystalGraphConfig(hidden_dim=16, layers=2, embedding_dim=8, cutoff=5.0)

    def structures(self) -> list[Structure]:
        alloy = Structure(Lattice.cubic(2.86), [{"Fe": 0.5, "Co": 0.3}], [[0, 0, 0]])
        return [crystal("rock salt"), crystal("quartz"), alloy]

    def graphs(self) -> list[Graph]:
        return [crystal_graph(s, cutoff=5.0) for s in self.structures()]

    def tensors(self) -> Sequence[Tensor]:
        parts = self.graphs()[:2]
        sizes = [g.num_nodes for g in parts]
        batch = torch.repeat_interleave(torch.arange(2), torch.tensor(sizes))
        edges = torch.cat([parts[0].edge_index, parts[1].edge_index + sizes[0]], 1)
        attr = torch.cat([g.edge_attr for g in parts])
        order = torch.randperm(edges.shape[1], generator=torch.Generator().manual_seed(0))  # unsorted edges are legal
        return torch.cat([g.token[:, 0] for g in parts]), edges[:, order], attr[order], batch

    def graphs_of_tensors(self) -> list[Graph]:
        return self.graphs()[:2]

    def odd_graphs(self) -> list[Graph]:
        lone = crystal_graph(numbers=[1], positions=[[0.0, 0, 0]], cell=np.eye(3) * 100)
        dimer = crystal_graph(numbers=[1, 1], positions=[[0.0, 0, 0], [0, 0, 0.74]])
        return [lone, dimer]


class TestParticleCloud(EncoderContract):
    encoder_class = e.ParticleCloudEncoder
    config = e.ParticleCloudConfig(hidden_dim=16, layers=2, heads=4, embedding_dim=8)
    modality = "event"

    def columns(self, n: int, seed: int) -> dict[str, Tensor]:
        z = numbers(n, 4, seed=seed)
        pt = z[:, 0].exp() * 5
        eta, phi = z[:, 1], torch.remainder(z[:, 2] * 2, 6.28)
        return {"pt": pt, "eta": eta, "phi": phi, "energy": pt * eta.cosh() + z[:, 3].abs(),
                "particle_id": torch.arange(n) % 7, "charge": torch.arange(n) % 3 - 1}

    def cloud(self, n: int, seed: int) -> Graph:
        return cloud_graph(**self.columns(n, seed), modality=self.modality)

    def graphs(self) -> list[Graph]:
        return [self.cloud(n, n) for n in (1, 5, 17, 40)]

    def tensors(self) -> Sequence[Tensor]:
        kinematics, ids, charges, mask = torch.zeros(2, 9, 4, dtype=torch.float64), torch.zeros(2, 9), torch.zeros(2, 9), torch.zeros(2, 9)
        for b, n in enumerate((4, 9)):
            c = self.columns(n, b)
            kinematics[b, :n] = torch.stack([c["pt"], c["eta"], c["phi"], c["energy"]], -1)
            ids[b, :n], charges[b, :n], mask[b, :n] = c["particle_id"], c["charge"], 1
        return kinematics, ids.long(), charges.long(), mask

    def graphs_of_tensors(self) -> list[Graph]:
        return [self.cloud(n, b) for b, n in enumerate((4, 9))]

    def odd_graphs(self) -> list[Graph]:
        return [self.cloud(0, 0), self.cloud(1, 0), self.cloud(2, 0)]


class TestJet(TestParticleCloud):
    encoder_class = e.JetEncoder
    config = e.JetConfig(widths=(8, 16), k=4, embedding_dim=8)
    modality = "jet"

    def tensors(self) -> Sequence[Tensor]:
        kinematics, *_ = super().tensors()
        return (kinematics,)

    def graphs_of_tensors(self) -> list[Graph]:
        # Ready features: here the four kinematic numbers of each constituent, whose first two columns are taken as the place.
        rows = [self.tensors()[0][b, :n] for b, n in enumerate((4, 9))]
        provenance = Provenance(kind="cloud", modality="jet")
        return [Graph(provenance, x=row, pos=row[:, :2].clone()) for row in rows]


class TestGalaxy(EncoderContract):
    encoder_class = e.GalaxyMorphologyEncoder
    config = e.GalaxyConfig(channels=2, patch=4, hidden_dim=16, layers=2, embedding_dim=8)
    modality, size = "galaxy", (16, 16)

    def images(self) -> tuple[Tensor, Tensor]:
        images = numbers(3, self.config.channels, *self.size)
        mask = numbers(3, self.config.channels, *self.size, seed=1) > -1.0
        mask[0, :, :4, :4] = False  # a whole patch
        return images, mask

    def graphs(self) -> list[Graph]:
        return self.graphs_of_tensors()

    def tensors(self) -> Sequence[Tensor]:
        return self.images()

    def graphs_of_tensors(self) -> list[Graph]:
        return [grid_graph(i, patch=self.config.patch, mask=m, modality=self.modality) for i, m in zip(*self.images(), strict=True)]

    def odd_graphs(self) -> list[Graph]:
        tiny = numbers(self.config.channels, 1, 1)
        return [grid_graph(tiny, patch=self.config.patch, modality=self.modality)]


class TestSatellite(TestGalaxy):
    encoder_class = e.SatelliteImageEncoder
    config = e.SatelliteConfig(channels=13, patch=4, hidden_dim=16, layers=2, embedding_dim=8)
    modality, size = "scene", (10, 14)  # not divisible by the patch


class TestSpecies(TestGalaxy):
    encoder_class = e.SpeciesImageEncoder
    config = e.SpeciesConfig(channels=3, patch=4, hidden_dim=16, layers=2, embedding_dim=8, species=5)
    modality, size = "photo", (12, 8)

    def test_logits_score_every_species(self) -> None:
        encoder = self.make()
        vectors = self.vectors(encoder, self.graphs())
        expected = vectors @ encoder.species_head.weight.T + encoder.species_head.bias
        torch.testing.assert_close(encoder.logits(vectors), expected)


class TestBioacoustic(TestGalaxy):
    encoder_class = e.BioacousticEncoder
    config = e.BioacousticConfig(patch=4, hidden_dim=16, layers=2, embedding_dim=8)
    modality, size = "spectrogram", (16, 22)

    def tensors(self) -> Sequence[Tensor]:
        images, mask = self.images()
        return images[:, 0], mask


class TestTransient(EncoderContract):
    encoder_class = e.TransientLightCurveEncoder
    config = e.TransientConfig(hidden_dim=16, layers=2, heads=2, embedding_dim=8)

    def rows(self, seed: int, n: int) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        z = numbers(n, 3, seed=seed)
        error = z[:, 2].abs() * 0.1
        error[::3] = torch.nan
        return 59000 + (z[:, 0] * 30).round(decimals=3), 20 + z[:, 1], error, ["griz"[i % 4] for i in range(n)]

    def graphs(self) -> list[Graph]:
        made = []
        for n in (3, 20, 57):
            t, m, err, band = self.rows(n, n)
            made.append(light_curve_graph(t, m, err, passband=band))
        return made

    def tensors(self) -> Sequence[Tensor]:
        rows = [self.rows(seed, 20) for seed in (0, 1)]
        times, magnitudes, errors = (torch.stack(part) for part in list(zip(*rows, strict=True))[:3])
        magnitudes[1, -5:] = errors[1, -5:] = torch.nan
        return times, magnitudes, errors

    def graphs_of_tensors(self) -> list[Graph]:
        return [light_curve_graph(t, m, err) for t, m, err in zip(*self.tensors(), strict=True)]

    def odd_graphs(self) -> list[Graph]:
        return [light_curve_graph([59000.0], [20.0], [0.1], passband=["g"])]

    def test_a_light_curve_without_samples_is_refused(self) -> None:
        with pytest.raises(EmptyGraphError, match="Leave the record out"):
            light_curve_graph([59000.0], [float("nan")])


class TestSpectrum(EncoderContract):
    encoder_class = e.SpectrumEncoder
    config = e.SpectrumConfig(hidden_dim=16, layers=2, heads=2, embedding_dim=8)

    def tensors(self) -> Sequence[Tensor]:
        wavelength = torch.linspace(3800, 9200, 64, dtype=torch.float64).expand(3, -1)
        flux = numbers(3, 64).abs() + 1
        return wavelength, flux, flux * 0.1, numbers(3, 64, seed=4) > -1, torch.tensor([0.0, 0.1, 0.5])

    def graphs_of_tensors(self) -> list[Graph]:
        return [spectrum_graph(w, f, s, mask=m, redshift=float(z)) for w, f, s, m, z in zip(*self.tensors(), strict=True)]

    def graphs(self) -> list[Graph]:
        return self.graphs_of_tensors()

    def odd_graphs(self) -> list[Graph]:
        return [spectrum_graph([5000.0], [1.0]), spectrum_graph([5000.0, 5001.0], [0.0, 0.0])]


class TestDNA(EncoderContract):
    encoder_class = e.DNABarcodeEncoder
    config = e.DNABarcodeConfig(hidden_dim=16, layers=2, heads=2, embedding_dim=8)

    def letters(self, n: int, seed: int, codes: str = ALPHABET) -> str:
        return "".join(codes[int(i)] for i in torch.randint(0, len(codes), (n,), generator=torch.Generator().manual_seed(seed)))

    def graphs(self) -> list[Graph]:
        return [chain_graph.from_sequence(self.letters(n, n)) for n in (2, 40, 90)]

    def tensors(self) -> Sequence[Tensor]:
        return (torch.tensor([[ALPHABET.index(c) for c in self.letters(50, s, "ACGTN")] for s in (0, 1)]),)

    def graphs_of_tensors(self) -> list[Graph]:
        return [chain_graph.from_sequence(self.letters(50, s, "ACGTN")) for s in (0, 1)]

    def odd_graphs(self) -> list[Graph]:
        return [chain_graph.from_sequence("A"), chain_graph.from_sequence("N")]


class TestWeather(EncoderContract):
    encoder_class = e.WeatherStateEncoder
    config = e.WeatherConfig(levels=2, level_variables=2, surface_variables=1, mesh_level=1, hidden_dim=16, layers=2, embedding_dim=8)

    def fields(self) -> Tensor:
        values = numbers(3, 5, 7, 10)
        values[1, 2, 3, 4] = torch.nan
        values[2, :, 2, 5] = torch.nan
        return values

    def graphs(self) -> list[Graph]:
        return self.graphs_of_tensors()

    def tensors(self) -> Sequence[Tensor]:
        values = self.fields()
        return values[:, :1], values[:, 1:].unflatten(1, (2, 2))

    def graphs_of_tensors(self) -> list[Graph]:
        lat, lon = np.linspace(90, -90, 7), np.arange(10) * 36.0
        return [sphere_graph(field, lat=lat, lon=lon, level=1) for field in self.fields()]
