"""The fully convolutional head that accompanies UperNet in training (Long et al., CVPR 2015; specification 5.2)."""

from __future__ import annotations

from torch import Tensor, nn

from skysense.tasks.decoders.layers import ConvNormReLU, check_levels, classifier


class FCN(nn.Module):
    """One convolution and a classifier on one map.

    As the auxiliary head of the published recipe it reads the third level, and its loss counts 0.4.

    Args:
        in_dim: width of the map.
        classes: K.
        width: of the convolution; 256 as published.
        dropout: share of its channels that training leaves out.

    Raises:
        ConfigError: no class.
    """

    def __init__(self, in_dim: int, classes: int, width: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.conv = ConvNormReLU(in_dim, width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = classifier(width, classes)

    def forward(self, x_BDHW: Tensor) -> Tensor:
        """Logits ``(B, K, H, W)`` of a map ``(B, in_dim, H, W)``.

        Raises:
            InputError: a map of another width.
        """
        check_levels([x_BDHW], [self.in_dim])
        return self.classifier(self.dropout(self.conv(x_BDHW)))
