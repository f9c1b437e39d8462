"""Multi-layer perceptron."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def mlp(*sizes: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear maps of these sizes with an activation between them, none after the last.

    >>> [type(layer).__name__ for layer in mlp(4, 8, 2)]
    ['Linear', 'ReLU', 'Linear']
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])
