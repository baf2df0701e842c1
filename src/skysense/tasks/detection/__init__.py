"""Detectors over a pyramid of feature maps: horizontal boxes and rectangles of any direction."""
