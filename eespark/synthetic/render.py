"""Digital numbers and scene classes of one product, in strips of rows, from the ground's reflectance and the weather.

A strip carries a halo for the sensor's point spread; every random field hangs on ground coordinates, so strips meet without seams
and memory is bounded by the product, not by the work in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from eespark.bands import BANDS, RESOLUTION_M
from eespark.grid import TileGrid
from eespark.synthetic.crops import COVERS, CROPS
from eespark.synthetic.noise import generator, smooth_field, subseed
from eespark.synthetic.phenology import Traits, parameters, reflectance
from eespark.synthetic.weather import CLOUD, HAZE, PATH_TOA, SNOW, Veil, Weather, has_data, veil_of

Image = npt.NDArray[np.float32]
Dn = npt.NDArray[np.generic]

STRIP_ROWS: Final = 512
HALO_PX: Final = 8
PSF_SIGMA_M: Final = {10: 5.5, 20: 8.0}  # Gaussian with the modulation at Nyquist that ESA reports (about 0.25 to 0.3)
SENSOR_NOISE: Final = 0.0016  # reflectance, at reference radiance: signal to noise of 150 and more
NDVI_PER_GREEN: Final = 0.75  # slope of NDVI with the green share, between the fitted soil and leaf
TEXTURE_M: Final = (170.0, 35.0)  # scales of soil and crop within a parcel
COVER_TEXTURE: Final = {"settlement": 0.35, "forest": 0.10, "water": 0.0}  # of the green share
SCL_NOISE: Final = 0.16  # of opacity, in the scene classification's eye: clouds missed and invented at the edges
SCL_WRONG_SHARE: Final = 0.015  # of 20 m pixels with a class out of the blue
DIGITS: Final = 10_000.0


@dataclass(frozen=True)
class Scene:
    """What a product is rendered from.

    Attributes:
        grid: 10 m grid of the crop.
        day: Days since the first day of the crop year.
        ground_seed: Of the variability within parcels, the same on all dates.
        date_seed: Of this date.
        weather: Of this date.
        dn_offset: Added to reflectance x 10,000: 1000 from baseline 04.00 on.
        level: L2A or L1C (top of atmosphere, no scene classes).
        empty: Nothing was acquired: no data everywhere.
        rows_with_data: Share of the rows, from and to, that the datastrip holds.
    """

    grid: TileGrid
    day: float
    ground_seed: int
    date_seed: int
    weather: Weather
    dn_offset: int
    level: str = "L2A"
    empty: bool = False
    rows_with_data: tuple[float, float] = (0.0, 1.0)


def render(scene: Scene, traits: Traits, patches: npt.NDArray[np.int32]) -> tuple[dict[str, Dn], float]:
    """Bands and scene classes of a product.

    Args:
        scene: What to render.
        traits: Of the tile's patches; row 0 is the verge between them.
        patches: (rows, cols) row of each 10 m pixel's patch; may be a memory map.

    Returns:
        (rows, cols) uint16 by band at its own resolution, `SCL` uint8 at 20 m; and the share of pixels that are truly clear.
    """
    rows, cols = scene.grid.rows, scene.grid.cols
    shapes = {band: (rows * 10 // RESOLUTION_M[band], cols * 10 // RESOLUTION_M[band]) for band in (*BANDS, "SCL")}
    out = {band: np.zeros(shape, np.uint8 if band == "SCL" else np.uint16) for band, shape in shapes.items()}
    if scene.empty:
        return out, 0.0
    spectra, slopes = (np.asarray(table, np.float32) for table in reflectance(traits, scene.day, scene.date_seed))
    clear = 0.0
    for first, last in _strips(rows):
        low, high = max(first - HALO_PX, 0), min(last + HALO_PX, rows)
        strip = np.asarray(patches[low:high])
        clear += _render_strip(scene, traits, (spectra, slopes), strip, (low, first, last), out)
    return out, clear / (rows * cols)


def _strips(rows: int) -> Iterator[tuple[int, int]]:
    for first in range(0, rows, STRIP_ROWS):
        yield first, min(first + STRIP_ROWS, rows)


def _render_strip(
    scene: Scene,
    traits: Traits,
    tables: tuple[Image, Image],
    patches: npt.NDArray[np.int32],
    where: tuple[int, int, int],
    out: dict[str, Dn],
) -> float:
    low, first, last = where
    inner = slice(first - low, last - low)
    high = low + len(patches)
    x, y = scene.grid.centres(np.arange(low, high), np.arange(scene.grid.cols))
    veil, vigour = veil_of(scene.weather, x, y), _texture(scene, traits, patches, x, y)
    data = has_data(
        scene.weather.edge, (np.arange(scene.grid.cols) + 0.5) / scene.grid.cols, (np.arange(low, high) + 0.5) / scene.grid.rows
    )
    down = (np.arange(low, high) + 0.5) / scene.grid.rows
    data &= ((down >= scene.rows_with_data[0]) & (down < scene.rows_with_data[1]))[:, None]
    whole = data.reshape(-1, 2, data.shape[1] // 2, 2).all(axis=(1, 3))
    data10 = np.repeat(np.repeat(whole, 2, axis=0), 2, axis=1)
    seen = {}
    for index, band in enumerate(BANDS):
        step = RESOLUTION_M[band]
        ground = tables[0][patches, index] + vigour * tables[1][patches, index]
        image = gaussian_filter(np.maximum(ground, 0.002), PSF_SIGMA_M[step] / 10.0, mode="nearest")
        image = _veiled(image, veil, index, scene)
        image, mask = (image, data10) if step == 10 else (_halve(image), whole)
        cut = slice(inner.start * 10 // step, inner.stop * 10 // step)
        image = image[cut] + generator(scene.date_seed, first, index).standard_normal(image[cut].shape, np.float32) * np.float32(
            SENSOR_NOISE
        )
        seen[band] = image
        numbers = np.clip(np.rint(image * DIGITS) + scene.dn_offset, 1, 65_534).astype(np.uint16)
        numbers[~mask[cut]] = 0
        out[band][first * 10 // step : last * 10 // step] = numbers
    if scene.level == "L2A":
        cut = slice(inner.start // 2, inner.stop // 2)
        scl = scene_classes({b: seen[b] if RESOLUTION_M[b] == 20 else _halve(seen[b]) for b in BANDS}, _cut(veil, inner), scene, first)
        scl[~whole[cut]] = 0
        out["SCL"][first // 2 : last // 2] = scl
    covered = (veil.cloud > 0.3) | (veil.shadow > 0.3) | (veil.cirrus > 0.15) | (veil.snow > 0.3)
    return float((data & ~covered)[inner].sum())


def _texture(scene: Scene, traits: Traits, patches: npt.NDArray[np.int32], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Image:
    # Change of the green share within patches: the ground's own on all dates, scaled to the scatter of NDVI in a real field.
    broad, fine = (smooth_field(subseed(scene.ground_seed, k), x, y, scale) for k, scale in enumerate(TEXTURE_M))
    scale = np.full(len(CROPS) + len(COVERS), parameters()["within_field_ndvi_sd"] / NDVI_PER_GREEN, np.float32)
    for cover, texture in COVER_TEXTURE.items():
        scale[len(CROPS) + COVERS.index(cover)] = texture
    return np.asarray((0.8 * broad + 0.6 * fine) * scale[traits.kind][patches], np.float32)


def _veiled(image: Image, veil: Veil, index: int, scene: Scene) -> Image:
    image = image + veil.snow * (np.float32(SNOW[index]) - image)
    image = image * (1 - np.float32(0.62 if index < 6 else 0.72) * veil.shadow) * np.float32(scene.weather.gain[index])
    if scene.level == "L1C":
        image = image * np.float32(0.93) + np.float32(PATH_TOA[index])
    image = image + np.float32(HAZE[index]) * (veil.haze - np.float32(0.4))
    image = image + veil.cirrus * (np.float32(CLOUD[index] * 0.75) - image)
    return np.asarray(image + veil.cloud * (np.float32(CLOUD[index]) * veil.tops - image), np.float32)


def _halve(image: Image) -> Image:
    return np.asarray(image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2).mean(axis=(1, 3)), np.float32)


def _cut(veil: Veil, rows: slice) -> Veil:
    return Veil(*(_halve(part[rows]) for part in (veil.cloud, veil.shadow, veil.cirrus, veil.snow, veil.haze, veil.tops)))


def scene_classes(seen: dict[str, Image], veil: Veil, scene: Scene, first_row: int) -> npt.NDArray[np.uint8]:
    """Scene classes as a classifier with errors would give them.

    Thin cloud and the rims of clouds are missed or invented, bright ground is taken for cloud now and then, a few pixels are simply wrong.

    Args:
        seen: (rows, cols) reflectance by band at 20 m.
        veil: The true opacities at 20 m.
        scene: Of the product.
        first_row: First 10 m row of the strip.

    Returns:
        (rows, cols) uint8, SCL 2..11.
    """
    rng = generator(scene.date_seed, first_row, 99)
    rows, cols = veil.cloud.shape
    x, y = scene.grid.centres(first_row + 2 * np.arange(rows, dtype=np.int64), 2 * np.arange(cols, dtype=np.int64))
    doubt = SCL_NOISE * (
        0.8 * smooth_field(subseed(scene.date_seed, 98), x, y, 130.0) + 0.6 * rng.standard_normal((rows, cols), np.float32)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ndvi = (seen["B8A"] - seen["B04"]) / np.maximum(seen["B8A"] + seen["B04"], 0.01)
        ndsi = (seen["B03"] - seen["B11"]) / np.maximum(seen["B03"] + seen["B11"], 0.01)
    scl = np.where(ndvi > 0.35, 4, 5).astype(np.uint8)
    scl[(seen["B8A"] < 0.06) & (ndvi < 0.2)] = 6
    scl[(np.abs(ndvi - 0.35) < 0.02) & (rng.random((rows, cols)) < 0.15)] = 7
    scl[(seen["B8A"] < 0.11) & (seen["B11"] < 0.09) & (scl != 6)] = 2
    scl[veil.shadow + doubt > 0.45] = 3
    scl[(veil.cirrus + 0.5 * doubt > 0.12) & (scl != 3)] = 10
    scl[(ndsi > 0.4) & (seen["B03"] > 0.3)] = 11
    bright = (seen["B02"] > 0.22 + 0.2 * doubt) & (scl != 11)
    scl[(veil.cloud + doubt > 0.28) | bright] = 8
    scl[veil.cloud + doubt > 0.62] = 9
    wrong = (rng.random((rows, cols)) < SCL_WRONG_SHARE) & (veil.cloud < 0.7)
    scl[wrong] = rng.choice(np.array([2, 3, 4, 5, 7, 8, 10], np.uint8), int(wrong.sum()))
    return scl
