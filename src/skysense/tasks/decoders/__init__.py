"""Decoders: from maps of features, the finest first, to a score per pixel and class."""

from skysense.tasks.decoders.bit import BIT
from skysense.tasks.decoders.difference import DifferenceUperNet, SemanticChange, SemanticChangeUperNet
from skysense.tasks.decoders.fcn import FCN
from skysense.tasks.decoders.layers import in_bins, resized
from skysense.tasks.decoders.light import CellDecoder, LightDecoder
from skysense.tasks.decoders.upernet import UperNet

__all__ = [
    "BIT",
    "FCN",
    "CellDecoder",
    "DifferenceUperNet",
    "LightDecoder",
    "SemanticChange",
    "SemanticChangeUperNet",
    "UperNet",
    "in_bins",
    "resized",
]
