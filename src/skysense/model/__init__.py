"""The published architecture: encoders, alignment, fusion, geo-context, presets, weights.

Names are found in their modules: `skysense.model.config` (dimensions and presets), `skysense.model.assembly` (the
model and its features), `skysense.model.weights` (files).
"""
