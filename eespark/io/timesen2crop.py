"""The layout in which TimeSen2Crop is published: one CSV a sample, written and read, and made into a training set.

`<root>/<tile>/<class 0..15>/<n>.csv` with the header `B1,...,B9,Flag` (B02 B03 B04 B05 B06 B07 B8A B11 B12 x 10,000; flag 0 clear, 1 cloud,
2 shadow, 3 snow), a row a date; `<root>/<tile>/dates.csv` with the header `acquisition_date` and a row YYYYMMDD a date, oldest first.
What eespark writes has `samples.csv` beside it, which says where each sample lies; the published set has no such file.

Source: Weikmann, Paris, Bruzzone 2021, TimeSen2Crop, IEEE JSTARS 14, 10.1109/JSTARS.2021.3073965.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from eespark.bands import BANDS, Flag
from eespark.errors import FormatError, MissingError
from eespark.io.storage import join_url, open_filesystem, read_text, url_exists

HEADER: Final = ",".join([*(f"B{i}" for i in range(1, len(BANDS) + 1)), "Flag"])
DATES_HEADER: Final = "acquisition_date"
SAMPLE_COLUMNS: Final = (
    "tile", "class_id", "number", "row", "col", "x", "y", "crs", "sample_id", "label_id", "point_x", "point_y", "split",
    "inclusion_probability", "weight",
)  # fmt: skip
"""Columns of `samples.csv`: place of the pixel in its tile's 10 m grid and in the tile's CRS; parcel point in EPSG:3035."""
_WIDTH: Final = len(BANDS) + 1
_NUMBERED: Final = re.compile(r"^(\d+)\.csv$")
_LARGEST: Final = 32_767


@dataclass(frozen=True)
class Series:
    """Series of one class of one tile folder, all on the tile's dates.

    Attributes:
        reflectance: (n, t, 9) int16 x 10,000; 0 where there is no value.
        flag: (n, t) uint8, 0 clear 1 cloud 2 shadow 3 snow; a date without data has flag 1 and zeros.
    """

    reflectance: npt.NDArray[np.int16]
    flag: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ClassFolder:
    """One class of one tile folder: its files by number, ascending."""

    tile: str
    class_id: int
    numbers: tuple[int, ...]


def published_flags(flag: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The four flags of the layout: what is clear, cloud, shadow or snow stays; no data, saturated and unclassified become cloud."""
    found = np.asarray(flag)
    return np.where(found > Flag.SNOW, Flag.CLOUD, found).astype(np.uint8)


def series_text(reflectance: npt.NDArray[np.int16], flag: npt.NDArray[np.uint8]) -> str:
    """One sample's file.

    Args:
        reflectance: (t, 9) x 10,000; -32768 (no data) is written as 0.
        flag: (t,) values of `Flag`.
    """
    values = np.where(reflectance == np.iinfo(np.int16).min, 0, reflectance).astype(np.int64)
    rows = np.column_stack([values, published_flags(flag)]).tolist()
    return "\n".join([HEADER, *(",".join(map(str, row)) for row in rows)]) + "\n"


def parse_series(text: str, where: str) -> Series:
    """One sample's file as a series with n = 1.

    Raises:
        FormatError: Another header, rows of another width, text that is no integer, a flag other than 0 to 3.
    """
    lines = text.split()
    if not lines or lines[0] != HEADER:
        raise FormatError(f"{where}: needed the header {HEADER}, found {lines[0] if lines else 'an empty file'}")
    try:
        values = np.array([[int(v) for v in line.split(",")] for line in lines[1:]], np.int64).reshape(len(lines) - 1, -1)
    except ValueError as error:
        raise FormatError(f"{where}: needed {_WIDTH} integers a row, found something else: {error}") from error
    if len(values) and values.shape[1] != _WIDTH:
        raise FormatError(f"{where}: needed {_WIDTH} integers a row, found {values.shape[1]}")
    values = values.reshape(-1, _WIDTH)
    flag = values[:, -1]
    if ((flag < 0) | (flag > Flag.SNOW)).any():
        raise FormatError(f"{where}: needed flags 0 to 3, found {sorted(set(flag.tolist()))}")
    reflectance = np.clip(values[:, :-1], -_LARGEST, _LARGEST).astype(np.int16)
    return Series(reflectance[None], flag.astype(np.uint8)[None])


def dates_text(dates: Sequence[date]) -> str:
    """A tile's `dates.csv`."""
    return "\n".join([DATES_HEADER, *(f"{day:%Y%m%d}" for day in dates)]) + "\n"


def parse_dates(text: str, where: str) -> list[date]:
    """The dates of a tile, oldest first.

    Raises:
        FormatError: Another header, rows that are no dates, or dates that do not ascend.
    """
    lines = text.split()
    if not lines or lines[0] != DATES_HEADER:
        raise FormatError(f"{where}: needed the header {DATES_HEADER}, found {lines[0] if lines else 'an empty file'}")
    try:
        dates = [date(int(line[:4]), int(line[4:6]), int(line[6:8])) for line in lines[1:]]
    except ValueError as error:
        raise FormatError(f"{where}: needed dates as YYYYMMDD, found something else: {error}") from error
    if any(later <= earlier for earlier, later in itertools.pairwise(dates)):
        raise FormatError(f"{where}: needed dates that ascend, found others")
    return dates


def write_class(root: str, folder: ClassFolder, series: Series) -> None:
    """Write the files of one class (or some of its numbers) of one tile."""
    url = join_url(root, folder.tile, str(folder.class_id))
    filesystem, path = open_filesystem(url)
    filesystem.makedirs(path, exist_ok=True)
    # A million tiny files: no temporary name each. The whole root is published by one rename when all are written.
    for number, reflectance, flag in zip(folder.numbers, series.reflectance, series.flag, strict=True):
        filesystem.pipe_file(f"{path}/{number}.csv", series_text(reflectance, flag).encode())


def write_tile_files(root: str, tile: str, dates: Sequence[date], samples: pd.DataFrame) -> None:
    """Write `dates.csv` and `samples.csv` of one tile folder."""
    ordered = samples.sort_values(["class_id", "number"])[list(SAMPLE_COLUMNS)]
    filesystem, path = open_filesystem(join_url(root, tile))
    filesystem.makedirs(path, exist_ok=True)
    filesystem.pipe_file(f"{path}/dates.csv", dates_text(dates).encode())
    filesystem.pipe_file(f"{path}/samples.csv", ordered.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_MINIMAL).encode())


def list_timesen2crop(root: str) -> list[ClassFolder]:
    """The classes of each tile folder, sorted, no file opened.

    Raises:
        MissingError: No tile folder with a `dates.csv`.
    """
    filesystem, path = open_filesystem(root)
    tiles = [str(p).rstrip("/").rsplit("/", 1)[-1] for p in filesystem.ls(path, detail=False)] if filesystem.isdir(path) else []
    found = []
    for tile in sorted(t for t in tiles if filesystem.exists(f"{path}/{t}/dates.csv")):
        names = [str(p).rstrip("/").rsplit("/", 1)[-1] for p in filesystem.ls(f"{path}/{tile}", detail=False)]
        for class_id in sorted(int(name) for name in names if name.isdigit()):
            files = (str(p).rsplit("/", 1)[-1] for p in filesystem.ls(f"{path}/{tile}/{class_id}", detail=False))
            numbers = sorted(int(m.group(1)) for m in map(_NUMBERED.match, files) if m)
            found.append(ClassFolder(tile, class_id, tuple(numbers)))
    if not found:
        raise MissingError(
            f"needed <tile>/dates.csv and <tile>/<class>/<n>.csv below {root}, found none; name the folder that holds the tiles"
        )
    return found


def read_dates(root: str, tile: str) -> list[date]:
    """The dates of one tile folder."""
    url = join_url(root, tile, "dates.csv")
    return parse_dates(read_text(url), url)


def read_samples(root: str, tile: str) -> pd.DataFrame | None:
    """Where the samples of one tile folder lie; None in the published set, which does not say.

    Raises:
        FormatError: Columns are absent.
    """
    url = join_url(root, tile, "samples.csv")
    if not url_exists(url):
        return None
    table = pd.read_csv(
        io.StringIO(read_text(url)), dtype={"tile": str, "label_id": str, "split": str, "crs": str}, float_precision="round_trip"
    )
    absent = [name for name in SAMPLE_COLUMNS if name not in table.columns]
    if absent:
        raise FormatError(f"{url}: needed the columns {', '.join(absent)}, found {', '.join(table.columns)}")
    return table[list(SAMPLE_COLUMNS)]


def read_series(root: str, folder: ClassFolder, times: int) -> Series:
    """The files of one class folder, or of some of its numbers, in their order.

    Raises:
        MissingError: A file is absent.
        FormatError: A file is of another layout, or has more or fewer rows than the tile has dates.
    """
    reflectance = np.zeros((len(folder.numbers), times, len(BANDS)), np.int16)
    flag = np.zeros((len(folder.numbers), times), np.uint8)
    filesystem, path = open_filesystem(join_url(root, folder.tile, str(folder.class_id)))
    for place, number in enumerate(folder.numbers):
        file = f"{path}/{number}.csv"
        try:
            one = parse_series(filesystem.cat_file(file).decode("ascii"), file)
        except FileNotFoundError as error:
            raise MissingError(f"needed the sample {file}, found none") from error
        except UnicodeDecodeError as error:
            raise FormatError(f"{file}: needed a CSV of integers, found other bytes at {error.start}") from error
        if one.flag.shape[1] != times:
            raise FormatError(f"{file}: needed {times} rows, a date of its tile each, found {one.flag.shape[1]}")
        reflectance[place], flag[place] = one.reflectance[0], one.flag[0]
    return Series(reflectance, flag)


def read_timesen2crop(root: str) -> Iterator[tuple[ClassFolder, list[date], Series]]:
    """Each class of each tile folder with the tile's dates; one class is held in memory at a time."""
    for folder in list_timesen2crop(root):
        dates = read_dates(root, folder.tile)
        yield folder, dates, read_series(root, folder, len(dates))
