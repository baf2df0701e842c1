"""Imagery as people keep it, and as the engine reads it: one grid of cells, whatever lies below."""
