"""Imagery with labels, in the formats that people have: what there is, and one example at a time."""
