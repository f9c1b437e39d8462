"""Pictures: graphs, maps of embeddings, and the road from a file to an answer. Needs ``pip install 'geoembed[plot]'``."""

from geoembed.viz.embeddings import draw_map, project
from geoembed.viz.graphs import draw_graph, save_graph_picture
from geoembed.viz.networks import Topology, to_networkx, topology
from geoembed.viz.road import draw_road

__all__ = ["Topology", "draw_graph", "draw_map", "draw_road", "project", "save_graph_picture", "to_networkx", "topology"]
