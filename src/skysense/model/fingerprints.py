"""Norms of the published high-resolution encoder, measured by others (specification, appendix A).

A random encoder has the norms 18.7, 26.5, 37.5 and 53.1 where the first entries of the four stages stand: weights that
were never loaded are told at once. Norms do not see an order of columns; the conformance tests do.
"""

from __future__ import annotations

TOLERANCE = 1e-3
"""Relative; the record is rounded."""

FINGERPRINTS: dict[str, float] = {
    "hr.stages.0.blocks.0.attention.qkv.weight": 28.9467,
    "hr.stages.0.blocks.0.mlp.up.weight": 31.0224,
    "hr.stages.1.merge.reduction.weight": 39.5585,
    "hr.stages.1.blocks.0.attention.qkv.weight": 52.2807,
    "hr.stages.1.blocks.1.attention.position_bias.heads.weight": 10.8869,
    "hr.stages.2.merge.reduction.weight": 78.3701,
    "hr.stages.2.blocks.0.attention.qkv.weight": 102.7082,
    "hr.stages.2.blocks.8.attention.out.weight": 59.1760,
    "hr.stages.2.blocks.17.mlp.down.weight": 123.0767,
    "hr.stages.3.merge.reduction.weight": 169.0895,
    "hr.stages.3.blocks.0.attention.qkv.weight": 208.8198,
    "hr.stages.3.blocks.1.mlp.down.weight": 244.8858,
}
"""Frobenius norms by our names."""
