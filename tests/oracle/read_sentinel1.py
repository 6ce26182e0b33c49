"""What xarray-sentinel reads of Sentinel-1 files, as a .npz; run by the Python of an environment of its own, knows nothing of eespark.

read_sentinel1.py tables <annotation.xml> <calibration.xml> <out.npz>
read_sentinel1.py scene <measurement.tiff> <calibration.xml> <out.npz>
"""

import sys

import numpy as np
import rasterio
import xarray as xr
import xarray_sentinel
from xarray_sentinel import sentinel1


def tables(annotation: str, calibration: str) -> dict[str, np.ndarray]:
    """The geolocation grid, and sigmaNought at places between its nodes; it refuses noise vectors of unequal lengths."""
    lut, grid = sentinel1.open_calibration_dataset(calibration), sentinel1.open_gcp_dataset(annotation)
    lines, samples = xr.DataArray(np.linspace(100, 10_600, 37), dims="line"), xr.DataArray(np.linspace(3, 10_400, 53), dims="pixel")
    told = {"lines": lines.values, "samples": samples.values}
    told |= {"sigma": lut.sigmaNought.astype("f8").interp(line=lines, pixel=samples).values}
    return told | {name: grid[name].values for name in ("latitude", "longitude", "incidenceAngle", "height", "line", "pixel")}


def scene(measurement: str, calibration: str) -> dict[str, np.ndarray]:
    """Calibrated intensity of a polarisation, noise not removed."""
    with rasterio.open(measurement) as dataset:
        numbers = dataset.read(1)
    places = {"line": np.arange(numbers.shape[0]), "pixel": np.arange(numbers.shape[1])}
    measured = xr.DataArray(numbers.astype("f4"), dims=("line", "pixel"), coords=places)
    lut = sentinel1.open_calibration_dataset(calibration).sigmaNought
    return {"sigma": xarray_sentinel.calibrate_intensity(measured, lut).values}


if __name__ == "__main__":
    found = tables(*sys.argv[2:4]) if sys.argv[1] == "tables" else scene(*sys.argv[2:4])
    np.savez(sys.argv[-1], **found)
