"""Ice classes of a scene by a bundle, strip by strip, in the geometry of the image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eespark.errors import ManifestError, MissingError
from eespark.geometry import Geometries
from eespark.io.patches import covered
from eespark.io.sar_scene import SarScene
from eespark.kernels.calibration import softmax
from eespark.kernels.sar_tables import Window
from eespark.predict import Bundle, Floats

LAYERS: Final = {"class": 255, "probability": 255}
"""Layer -> no data: class is a legend id, probability percent."""
_BATCH: Final = 256
_LEAST_BLOCK: Final = 512


@dataclass(frozen=True)
class Plan:
    """How a bundle goes over a scene.

    Attributes:
        looks: Pixels of a look's side.
        size: Looks of a patch's side, or of a dense network's reach.
        step: Looks of a cell's side, which is what gets a class: 1 for a dense network.
        dense: Whether the network says something of every look.
        bands: Polarisations in its order.
        align: Looks whose multiples blocks of a dense network begin at and are sized by, so that it sees the same cells in each.
    """

    looks: int
    size: int
    step: int
    dense: bool
    bands: tuple[str, ...]
    align: int = 1

    @property
    def block(self) -> int:
        """Looks of a dense network's block: what is read twice for the halo is less than what is new."""
        return max(_LEAST_BLOCK, _up(2 * (self.size // 2), self.align))

    def cells(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of cells of a scene of some lines and samples."""
        side = self.looks * self.step
        return shape[0] // side, shape[1] // side

    @property
    def cell_px(self) -> int:
        """Pixels of a cell's side."""
        return self.looks * self.step


def plan_of(manifest: dict[str, Any], stride: int | None) -> Plan:
    """How the bundle of a manifest goes over scenes.

    Args:
        manifest: Of the bundle.
        stride: Looks from patch to patch; None for half a patch. Dense networks have none.

    Raises:
        ManifestError: A bundle of series, or a stride that leaves gaps.
    """
    if manifest.get("inputs") != "patches":
        raise ManifestError(f"needed a bundle trained on patches, found one of {manifest.get('inputs', 'series')}; name another bundle")
    absent = sorted({"receptive_looks", "dense", "looks"} - manifest.keys())
    if absent:
        raise ManifestError(f"a bundle to map scenes with needs {', '.join(absent)}; train again")
    size, dense = int(manifest["receptive_looks"]), bool(manifest["dense"])
    step = 1 if dense else stride or max(size // 2, 1)
    if step > size:
        raise ManifestError(f"needed a stride of at most the patch's {size} looks, found {step}; cells between patches would have no class")
    return Plan(int(manifest["looks"]), size, step, dense, tuple(manifest["bands"]), int(manifest.get("output_stride", 1)))


def predict_strip(
    scene: SarScene, bundle: Bundle, plan: Plan, land: Geometries, cells: tuple[int, int]
) -> dict[str, npt.NDArray[np.uint8]]:
    """Classes of some rows of cells, all columns.

    Args:
        scene: Open.
        bundle: Loaded.
        plan: Of `plan_of`.
        land: Polygons in looks of the image.
        cells: First row and number of rows.

    Returns:
        Layers (rows, columns) of `LAYERS`.

    Raises:
        MissingError: The scene lacks a polarisation.
        FormatError: The raster cannot be decoded.
    """
    columns = plan.cells(scene.shape)[1]
    layers = {name: np.full((cells[1], columns), nodata, np.uint8) for name, nodata in LAYERS.items()}
    parts = _dense(scene, bundle, plan, land, cells) if plan.dense else iter([(0, _blended(scene, bundle, plan, land, cells))])
    for first, shares in parts:
        known = np.isfinite(shares[..., 0])
        best = np.where(known[..., None], shares, 0).argmax(axis=-1)
        here = np.s_[:, first : first + shares.shape[1]]
        layers["class"][here] = np.where(known, bundle.class_ids[best], LAYERS["class"]).astype(np.uint8)
        sure = np.take_along_axis(shares, best[..., None], axis=-1)[..., 0]
        layers["probability"][here] = np.where(known, np.rint(100 * np.nan_to_num(sure)), LAYERS["probability"]).astype(np.uint8)
    return layers


def read_window(scene: SarScene, plan: Plan, land: Geometries, window: Window) -> tuple[Floats, Floats]:
    """Sigma (rows, cols, bands), NaN where there is none or land, and incidence (cols,) of a window in looks."""
    absent = [one for one in plan.bands if one not in scene.bands]
    if absent:
        raise MissingError(f"{scene.product_id}: needed {', '.join(plan.bands)}, found {', '.join(scene.bands)}; map it by another bundle")
    looks = scene.looks(window, plan.looks)
    hidden = covered(land, window)
    for band in plan.bands:
        hidden |= ~looks.valid[band]
    sigma = np.stack([looks.power[band] for band in plan.bands], axis=-1)
    return np.where(hidden[..., None], np.float32(np.nan), sigma).astype(np.float32), looks.incidence.mean(axis=0).astype(np.float32)


def _dense(
    scene: SarScene, bundle: Bundle, plan: Plan, land: Geometries, cells: tuple[int, int]
) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """First column and shares (rows, cols, classes) of blocks, each read with a halo as wide as the network reaches."""
    height, width = plan.cells(scene.shape)
    halo = plan.size // 2
    top, bottom = _span(cells[0], cells[1], halo, plan.align, height)
    for first in range(0, width, plan.block):
        wide = min(plan.block, width - first)
        left, right = _span(first, wide, halo, plan.align, width)
        sigma, incidence = read_window(scene, plan, land, Window(top, left, bottom - top, right - left))
        logits, _ = bundle.run(*(one[None] for one in _padded(sigma, incidence, plan.align)))
        inner = np.s_[cells[0] - top : cells[0] - top + cells[1], first - left : first - left + wide]
        # Not rounded to single precision: classes that are nearly alike would become equal, and the first of them win.
        shares = softmax(logits[0][inner], bundle.manifest["temperature"])
        yield first, np.where(np.isnan(sigma[inner]).any(axis=-1)[..., None], np.nan, shares)


def _span(first: int, count: int, halo: int, align: int, limit: int) -> tuple[int, int]:
    """First look, a multiple of `align`, and end of what is read for `count` looks."""
    return max(first - halo, 0) // align * align, min(first + count + halo, limit)


def _padded(sigma: Floats, incidence: Floats, align: int) -> tuple[Floats, Floats]:
    """The looks with sides of a multiple of `align`: what lies beyond the scene has no value."""
    down, right = (-side % align for side in sigma.shape[:2])
    if not (down or right):
        return sigma, incidence
    return np.pad(sigma, ((0, down), (0, right), (0, 0)), constant_values=np.nan), np.pad(incidence, (0, right), mode="edge")


def _up(value: int, align: int) -> int:
    return -(-value // align) * align


def _blended(scene: SarScene, bundle: Bundle, plan: Plan, land: Geometries, cells: tuple[int, int]) -> Floats:
    """Shares (rows, cols, classes) of cells: the mean over the whole patches that cover each, those whose middle is near weighing more."""
    reach, width = plan.size // plan.step, plan.cells(scene.shape)[1]
    looks_high, looks_wide = (side // plan.looks for side in scene.shape)
    last_row, last_col = (looks_high - plan.size) // plan.step, (looks_wide - plan.size) // plan.step
    first = max(cells[0] - reach + 1, 0)
    last = min(cells[0] + cells[1] - 1, last_row)
    classes = len(bundle.class_ids)
    total, weight = np.zeros((cells[1], width, classes), np.float32), np.zeros((cells[1], width), np.float32)
    if last >= first and last_col >= 0:
        window = Window(first * plan.step, 0, (last - first) * plan.step + plan.size, last_col * plan.step + plan.size)
        shares, whole = _patches(bundle, plan, *read_window(scene, plan, land, window))
        tent = np.minimum(np.arange(reach) + 1, reach - np.arange(reach))
        for down in range(reach):
            for right in range(reach):
                rows = np.arange(first, last + 1) + down - cells[0]
                kept = (rows >= 0) & (rows < cells[1])
                wide = min(whole.shape[1], width - right)
                own = whole[kept, :wide] * np.float32(tent[down] * tent[right])
                total[rows[kept], right : right + wide] += own[..., None] * shares[kept, :wide]
                weight[rows[kept], right : right + wide] += own
    return np.where(weight[..., None] > 0, total / np.maximum(weight, 1e-9)[..., None], np.float32(np.nan))


def _patches(bundle: Bundle, plan: Plan, sigma: Floats, incidence: Floats) -> tuple[Floats, npt.NDArray[np.float32]]:
    """Shares (rows, cols, classes) of the patches of a window at the step, and 1 where a patch is whole, else 0."""
    size, step = plan.size, plan.step
    # All bands are in one window of the third axis, which has one place.
    squares = np.lib.stride_tricks.sliding_window_view(sigma, (size, size, sigma.shape[2]))[::step, ::step, 0]
    angles = np.lib.stride_tricks.sliding_window_view(incidence, size)[::step]
    whole = ~np.isnan(squares).any(axis=(2, 3, 4))
    rows, cols = np.nonzero(whole)
    shares = np.zeros((*whole.shape, len(bundle.class_ids)), np.float32)
    for start in range(0, len(rows), _BATCH):
        part = slice(start, start + _BATCH)
        logits, _ = bundle.run(squares[rows[part], cols[part]], angles[cols[part]])
        shares[rows[part], cols[part]] = softmax(logits, bundle.manifest["temperature"])
    return shares, whole.astype(np.float32)
