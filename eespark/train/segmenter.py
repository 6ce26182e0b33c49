"""ResNet-18 with atrous spatial pyramid pooling: a class for every look, learnt from crops whose looks are labelled one by one.

Sources: He et al. 2016, Deep residual learning (arXiv:1512.03385), table 1, 18 layers; Chen et al. 2017, Rethinking atrous convolution
(arXiv:1706.05587), section 3.3. The third and fourth stages are dilated instead of strided, so that cells of 8 looks remain. The pooling
over the whole image is left out of the pyramid: scenes are mapped in blocks, and what a block's mean tells would end at its edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import tensorflow as tf

OUTPUT_STRIDE: Final = 8
"""Looks of a cell's side, which is what the network decides on; logits are interpolated between cells."""
_STAGES: Final = ((64, 1, 1), (128, 2, 1), (256, 1, 2), (512, 1, 4))
"""Filters, stride and dilation of the four stages, of two blocks of two convolutions each."""
_PYRAMID: Final = 256


def segmenter_body(values: Any, width: float, rates: Sequence[int]) -> Any:
    """(batch, lines / 8, samples / 8, filters) from (batch, lines, samples, channels); sides are multiples of 8.

    Args:
        values: Normalised looks.
        width: Share of the published number of filters.
        rates: Dilations of the pyramid's convolutions, cells.
    """
    values = _unit(values, _scaled(64, width), 7, "conv1", stride=2)
    values = tf.keras.layers.MaxPooling2D(3, 2, padding="same")(values)
    for stage, (filters, stride, dilation) in enumerate(_STAGES):
        for block in range(2):
            name = f"stage{stage + 1}_block{block + 1}"
            values = _residual(values, _scaled(filters, width), stride if block == 0 else 1, dilation, name)
    wide = _scaled(_PYRAMID, width)
    branches = [_unit(values, wide, 1, "pyramid0")]
    branches += [_unit(values, wide, 3, f"pyramid{number + 1}", dilation=rate) for number, rate in enumerate(rates)]
    return _unit(tf.keras.layers.Concatenate()(branches), wide, 1, "pyramid")


def reach_of(rates: Sequence[int]) -> int:
    """Side (looks) of what one output can see: the sum over the layers of (kernel - 1) x dilation x stride before it."""
    reach, stride = 1 + 6 * 1, 2
    reach, stride = reach + 2 * stride, stride * 2
    for _, step, dilation in _STAGES:
        # The first convolution of a stage takes its step; the others go on from there.
        reach, stride = reach + 2 * dilation * stride, stride * step
        reach += 3 * 2 * dilation * stride
    reach += 2 * max(rates) * stride
    # A look takes its logits from two cells on each axis.
    return reach + 2 * OUTPUT_STRIDE


def _scaled(filters: int, width: float) -> int:
    return max(round(filters * width), 1)


def _unit(values: Any, filters: int, kernel: int, name: str, *, stride: int = 1, dilation: int = 1, active: bool = True) -> Any:
    """Convolution, normalisation and, where active, rectification."""
    layers = tf.keras.layers
    made = layers.Conv2D(
        filters, kernel, stride, padding="same", dilation_rate=dilation, use_bias=False, kernel_initializer="he_normal", name=name
    )
    values = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(made(values))
    return layers.ReLU()(values) if active else values


def _residual(values: Any, filters: int, stride: int, dilation: int, name: str) -> Any:
    inner = _unit(values, filters, 3, f"{name}_conv1", stride=stride, dilation=dilation)
    inner = _unit(inner, filters, 3, f"{name}_conv2", dilation=dilation, active=False)
    if stride > 1 or values.shape[-1] != filters:
        values = _unit(values, filters, 1, f"{name}_shortcut", stride=stride, active=False)
    return tf.keras.layers.ReLU()(tf.keras.layers.Add()([inner, values]))
