"""Reflectance and flags of Sentinel-2 digital numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eespark.bands import DN_NODATA, DN_SATURATED, REFLECTANCE_NODATA, REFLECTANCE_SCALE, Flag

Int16s = npt.NDArray[np.int16]
Bytes = npt.NDArray[np.uint8]


def stored_reflectance(dn: npt.NDArray[np.uint16], offset: float, scale: float) -> Int16s:
    """Reflectance x 10,000 as int16; -32768 where the DN is no data.

    Args:
        dn: Digital numbers, any shape; 0 is no data.
        offset: Radiometric offset of the band in DN (-1000 from processing baseline 04.00 on, else 0).
        scale: Quantification value.

    Returns:
        `(dn + offset) / scale * 10,000`, rounded; same shape. Values outside int16 are cut to its range without -32768.

    Source: Sentinel-2 Products Specification Document, "Reflectance conversion", baseline 04.00.
    """
    value = (dn.astype(np.float32) + np.float32(offset)) * np.float32(REFLECTANCE_SCALE / scale)
    stored: Int16s = np.clip(np.rint(value), REFLECTANCE_NODATA + 1, 32_767).astype(np.int16)
    stored[dn == DN_NODATA] = REFLECTANCE_NODATA
    return stored


def flag_faults(flag: Bytes, dn: npt.NDArray[np.uint16]) -> Bytes:
    """Flags with no data where a band of the pixel is no data or saturated; clouds stay clouds.

    Args:
        flag: (n,) values of `Flag`.
        dn: (n, bands) digital numbers as read; where the flag told not to read, they do not count.
    """
    faulty = ((dn == DN_NODATA) | (dn == DN_SATURATED)).any(axis=1)
    return np.where(faulty & (flag != Flag.CLOUD), np.uint8(Flag.NO_DATA), flag).astype(np.uint8)
