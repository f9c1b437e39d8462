"""The package as a whole: its promised names, its doors, its layers, and what its code must not contain."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

import geoembed
import pytest
from geoembed import registry

ROOT = Path(geoembed.__file__).parent
PROJECT = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())
SOURCES = {path: path.read_text() for path in sorted(ROOT.rglob("*.py"))}
LONGER = {"store/table.py"}  # named, so that no other joins it

PROMISED = [
    "read", "crystal_graph", "cloud_graph", "sphere_graph", "icosahedral_mesh", "grid_graph", "chain_graph", "GraphBatch", "Graph",
    "CrystalGraphEncoder", "GalaxyMorphologyEncoder", "TransientLightCurveEncoder", "SpectrumEncoder", "WeatherStateEncoder",
    "SatelliteImageEncoder", "ParticleCloudEncoder", "JetEncoder", "SpeciesImageEncoder", "BioacousticEncoder", "DNABarcodeEncoder",
    "embed", "build", "Report", "open_table", "open_store", "trust", "particle_class", "light_curve_graph", "spectrum_graph", "CrystalGraphConv",
]


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_name_is_there_and_listed(name):
    assert getattr(geoembed, name) is not None
    assert name in geoembed.__all__
    assert name in dir(geoembed)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match="has no attribute 'crystal_grpah'; it has .*crystal_graph"):
        _ = geoembed.crystal_grpah


def test_a_user_reaches_search_in_five_lines_of_promised_names():
    assert callable(geoembed.chain_graph.from_sequence)
    assert callable(geoembed.trust.check)
    for encoder in ("CrystalGraphEncoder", "JetEncoder"):
        cls = getattr(geoembed, encoder)
        assert {"from_pretrained", "from_tensors", "save", "load"} <= set(dir(cls))
    assert callable(geoembed.GraphBatch.from_data_list)


HEAVY = ("torch", "torch_geometric", "pymatgen", "pandas", "numpy", "pyarrow", "e3nn", "lightning", "matplotlib", "scipy")


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy():
    assert loaded_after("import geoembed") == set()


def test_the_help_of_the_command_line_imports_no_torch():
    code = ("import sys; sys.argv = ['geoembed', '--help']\nfrom geoembed.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
            "    assert not end.code, end.code\n"
            "print('HEAVY', *[name for name in ('torch', 'torch_geometric', 'pymatgen', 'lightning') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("HEAVY")
    assert "embed" in done.stdout


def test_the_installed_version_is_that_of_the_package():
    assert version("geoembed") == PROJECT["project"]["version"] == geoembed.__version__


@pytest.mark.parametrize("group", registry.GROUPS)
def test_entry_points_of_the_project_file_are_those_that_are_installed(group):
    declared = PROJECT["project"]["entry-points"][group]
    installed = {entry.name: entry.value for entry in entry_points(group=group) if entry.value.startswith("geoembed.")}
    assert installed == declared, "run `make install` after editing entry points"


@pytest.mark.parametrize("group", registry.GROUPS)
def test_every_entry_point_names_a_thing_that_exists(group):
    for name in registry.names(group):
        assert registry.load(group, name) is not None


def test_kinds_are_registered_under_their_own_names_with_known_rules():
    from geoembed.graphs.connect import _RULES

    for name, kind in registry.load_all("geoembed.kinds").items():
        assert kind.name == name
        assert callable(kind.builder)
        assert set(kind.rules) <= set(_RULES)


def test_layers_are_declared_for_every_module_and_go_one_way():
    contracts = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    layers = contracts["One way down"]
    assert layers["exhaustive"] is True
    declared = {name.strip() for layer in layers["layers"] for name in layer.split("|")}
    present = {path.stem if path.is_file() else path.name for path in ROOT.iterdir()
               if (path.suffix == ".py" and path.stem != "__init__") or (path.is_dir() and (path / "__init__.py").exists())}
    assert present <= declared
    forbidden = {module for contract in contracts.values() for module in contract.get("forbidden_modules", [])}
    assert {"torch_scatter", "triton", "pymatgen", "ase", "typer", "rich", "matplotlib"} <= forbidden


# Loops that remain: few turns whatever the size of the data.
ALLOWED_LOOPS = {
    ("ops/shells.py", "while waiting is None or len(waiting)"): "searches that grow threefold",
    ("ops/crystals.py", "torch.nonzero(gaps.any(dim=1)).flatten().tolist()"): "crystals that lack a lattice vector",
    ("ops/compiled_search.py", "enumerate(pairwise(wrapped.bounds))"): "crystals: the compiled search takes one at a time",
    ("ops/knn.py", "size_buckets(ptr, block_pairs(x.device))"): "groups of segments of one size",
    ("ops/radius.py", "size_buckets(ptr, block_pairs(x.device))"): "groups of segments of one size",
    ("ops/distance.py", "range(a.shape[-1])"): "columns of a point",
    ("ops/fused_layers.py", "range(0, len(weights), width)"): "layers of a stack",
    ("ops/fused_features_knn.py", "itertools.pairwise(ptr.tolist())"): "the few segments of the comparison before first use",
    ("ops/tree_search.py", "range(a.shape[-1])"): "columns of a point",
    ("ops/tree_search.py", "torch.stack([ptr[members], ptr[members + 1]], 1).tolist()"): "segments of over 512 rows, a tree each",
    ("ops/tree_search.py", "while len(open_rows) and k"): "questions to a tree that grow fourfold",
    ("encoders/particle_cloud.py", "size_buckets(batch.ptr, PAIRS)"): "groups of events of one size",
}
DATA_SIZED = re.compile(r"num_nodes|num_edges|num_graphs|\bptr\b|\bbatch\b|tolist|shape\[(0|-2)\]|\blen\(|edge_index|\.unbind\(0\)|to_data_list")


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text())))


def loops(path: Path) -> list[str]:
    found = []
    for node in nodes_of(path):
        iterables = [node.iter] if isinstance(node, ast.For) else [part.iter for part in getattr(node, "generators", [])]
        found += [ast.unparse(iterable) for iterable in iterables]
        if isinstance(node, ast.While):
            found.append(f"while {ast.unparse(node.test)}")
    return found


@pytest.mark.parametrize("package", ["ops", "nn", "encoders"])
def test_no_python_loop_runs_over_nodes_edges_or_graphs(package):
    named = {"self.turns.unbind(0)"}  # the eight turns of a square
    for path in sorted((ROOT / package).glob("*.py")):
        place = str(path.relative_to(ROOT))
        suspects = [text for text in loops(path) if DATA_SIZED.search(text) and text not in named]
        assert [text for text in suspects if (place, text) not in ALLOWED_LOOPS] == [], place


def test_the_scan_for_loops_finds_one(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text("for i in range(batch.num_nodes):\n    pass\nrows = [x for x in ptr.tolist()]\nwhile queue:\n    pass\n")
    assert [bool(DATA_SIZED.search(text)) for text in loops(path)] == [True, False, True]


def calls(path: Path) -> list[tuple[str, int]]:
    return [(ast.unparse(node.func), node.lineno) for node in nodes_of(path) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("package", ["nn", "encoders"])
def test_no_value_is_fetched_from_the_device_in_a_forward_pass(package):
    for path in sorted((ROOT / package).glob("*.py")):
        assert [place for place in calls(path) if place[0].endswith((".item", ".tolist", ".cpu", ".numpy"))
                and "save_file" not in path.read_text().splitlines()[place[1] - 1]] == [], path


def test_nothing_unpickles_evaluates_or_executes():
    banned = re.compile(r"(^|\.)(eval|exec|loads?)$")
    for path, text in SOURCES.items():
        assert not re.search(r"^\s*(import|from)\s+(pickle|cloudpickle|dill|joblib|marshal|shelve)\b", text, re.MULTILINE), path
        assert "allow_pickle=True" not in text, path
        for name, line in calls(path):
            if banned.search(name) and (name in ("eval", "exec") or name.split(".")[0] in ("torch", "pickle", "yaml")):
                raise AssertionError(f"{path}:{line} calls {name}")


def test_no_input_is_checked_by_assert_and_nothing_is_caught_blindly():
    blind = []
    for path in SOURCES:
        for node in nodes_of(path):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}"
                if ast.unparse(node.type) in ("Exception", "BaseException"):
                    blind.append(str(path.relative_to(ROOT)))
    carried = {"pipeline/encode.py", "pipeline/flow.py", "store/prefetch.py"}  # from a thread to the one that waits for it
    assert set(blind) <= {"io/reader.py", "pipeline/worker.py"} | carried


def test_every_file_is_short_starts_with_its_purpose_and_has_a_real_name():
    for path, text in SOURCES.items():
        tree = nodes_of(path)[0]
        assert path.stem not in {"utils", "common", "helpers", "misc"}, path
        assert ast.get_docstring(tree) or not tree.body, path
        assert len(text.splitlines()) <= 300 or str(path.relative_to(ROOT)) in LONGER, path
