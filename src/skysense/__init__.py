"""SkySense: a multi-modal remote-sensing foundation model, from imagery to maps."""

__version__ = "0.1.0"
