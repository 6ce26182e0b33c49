"""The first layers of VGG-16 as ImageNet trained them, from a file that the user has: nothing is fetched."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eespark.errors import FormatError, MissingError
from eespark.io.storage import is_local, local_path, open_filesystem, url_exists

Weights = dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
_RGB = 3


def load_imagenet(model: Any, url: str, rgb: str, frozen: int) -> None:
    """Give the convolutions of a VGG-16 the weights of a file, and freeze the first of them.

    ImageNet's first filters look at red, green and blue, which a radar has not. `mean` takes the mean of each filter over the three and
    spreads it evenly over the channels that are there: edges and textures stay, the contrast of colours goes. `filters` leaves them as they
    stand, so that HH, HV and the angle come in as red, green and blue.

    Args:
        model: With layers named block<n>_conv<m>.
        url: Of the HDF5 file.
        rgb: mean or filters.
        frozen: Number of convolutions that keep these weights in training.

    Raises:
        MissingError: No such file.
        FormatError: It is no file of VGG-16's weights.
    """
    weights = read_weights(url)
    layers = [layer for layer in model.layers if layer.name.startswith("block") and "_conv" in layer.name]
    for number, layer in enumerate(layers):
        if layer.name not in weights:
            raise FormatError(f"{url}: needed weights of {layer.name}, found {', '.join(sorted(weights)) or 'none'}; name a file of VGG-16")
        kernel, bias = weights[layer.name]
        channels = layer.kernel.shape[2]
        if number == 0 and rgb == "mean":
            kernel = np.repeat(kernel.mean(axis=2, keepdims=True), channels, axis=2) * (kernel.shape[2] / channels)
        if kernel.shape != tuple(layer.kernel.shape) or bias.shape != tuple(layer.bias.shape):
            raise FormatError(f"{url}: needed {layer.name} of {tuple(layer.kernel.shape)}, found {kernel.shape}; name a file of VGG-16")
        layer.set_weights([kernel, bias])
        layer.trainable = number >= frozen


def read_weights(url: str) -> Weights:
    """Kernel and bias of each convolution in a Keras HDF5 file, with or without its top.

    Raises:
        MissingError: No such file.
        FormatError: It is no HDF5 file.
    """
    if not url_exists(url):
        raise MissingError(
            f"needed the weights of VGG-16 at {url}, found no file; get Keras' "
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 once and name it in fit.model.weights"
        )
    if is_local(url):
        return _read(Path(local_path(url)))
    with tempfile.TemporaryDirectory(prefix="eespark-weights-") as scratch:
        filesystem, path = open_filesystem(url)
        filesystem.get_file(path, f"{scratch}/weights.h5")
        return _read(Path(scratch) / "weights.h5")


def _read(file: Path) -> Weights:
    import h5py

    found: dict[str, dict[int, npt.NDArray[np.float32]]] = {}

    def visit(name: str, one: Any) -> None:
        layer = next((part for part in name.split("/") if part.startswith("block") and "_conv" in part), None)
        if layer is not None and isinstance(one, h5py.Dataset) and one.ndim in (1, 4):
            found.setdefault("_".join(layer.split("_")[:2]), {})[one.ndim] = np.asarray(one, np.float32)

    try:
        with h5py.File(file, "r") as content:
            content.visititems(visit)
    except OSError as error:
        raise FormatError(f"{file}: needed an HDF5 file of weights, found something else ({error}); name a file of VGG-16") from error
    return {layer: (parts[4], parts[1]) for layer, parts in found.items() if parts.keys() == {1, 4}}
