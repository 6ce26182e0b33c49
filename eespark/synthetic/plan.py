"""Which products the archive holds, and which of them are faulty on purpose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from eespark.grid import TileGrid
from eespark.synthetic.names import BASELINE_OFFSET, ProductName
from eespark.synthetic.noise import generator, subseed
from eespark.synthetic.region import ORBITS, TILES, Pass, crop_grid, passes
from eespark.synthetic.render import Scene
from eespark.synthetic.settings import ArchiveSettings
from eespark.synthetic.weather import Weather, draw_weather

# When each baseline was run over the archive: 02.14 in spring 2020, 04.00 from January 2022, L1C at once.
_RUN: Final = {"02.14": datetime(2020, 3, 2, 6, 0, 0), "04.00": datetime(2022, 1, 26, 6, 0, 0)}
# Seconds from the start of the datastrip to that of the datatake in the names of real products.
_STRIP_LAG_S: Final = 5


@dataclass(frozen=True)
class Product:
    """One product to make.

    Attributes:
        name: All its names.
        scene: What to render.
        fault: Empty, or what is wrong: reprocessed, half, truncated, missing_band, empty, or special: zip, l1c.
        fault_band: Band that the fault hits, where it hits one.
    """

    name: ProductName
    scene: Scene
    fault: str = ""
    fault_band: str = ""


def plan_products(settings: ArchiveSettings) -> list[Product]:
    """All products of the archive, ordered by tile and time.

    A pure function of the settings: a product's pixels follow from seed, tile and date, whatever else is in the archive.
    """
    products: list[Product] = []
    for number, tile in enumerate(TILES):
        grid = crop_grid(tile, settings.size_px)
        chosen = _choose_dates(settings, tile, number)
        regular = [_product(settings, grid, number, *one) for one in chosen]
        products += _with_faults(regular, number) if settings.faults else regular
    return products


def _choose_dates(settings: ArchiveSettings, tile: str, number: int) -> list[tuple[Pass, Weather]]:
    everything = [(p, draw_weather(settings.seed, number, p.sensing.date())) for p in passes(tile, settings.first_date, settings.last_date)]
    # Archives of the field leave out images with more than 80 % cloud; the rest is thinned evenly over the year.
    usable = [one for one in everything if one[1].cloud_share <= 0.8]
    if len(usable) < settings.dates_per_tile:
        usable = sorted(sorted(everything, key=lambda one: one[1].cloud_share)[: settings.dates_per_tile], key=lambda one: one[0].sensing)
    count = min(settings.dates_per_tile, len(usable))
    return [usable[(k * len(usable)) // count] for k in range(count)]


def _product(settings: ArchiveSettings, grid: TileGrid, number: int, flight: Pass, weather: Weather) -> Product:
    baseline = "02.14" if flight.sensing.date() < settings.baseline_change else "04.00"
    day = (flight.sensing.date() - settings.first_date).days
    rng = generator(settings.seed, 90, number, day)
    name = ProductName(
        mission=flight.mission, level="L2A", tile=grid.tile, relative_orbit=ORBITS[grid.tile].relative,
        absolute_orbit=flight.absolute_orbit,
        start=flight.sensing, datastrip_start=flight.sensing + timedelta(seconds=-_STRIP_LAG_S),
        made=_RUN[baseline] + timedelta(seconds=int(rng.integers(0, 30 * 86_400))), baseline=baseline,
    )  # fmt: skip
    scene = Scene(
        grid=grid, day=float(day), ground_seed=subseed(settings.seed, 91, int(grid.crs[5:])), date_seed=subseed(settings.seed, 92,
        number, day),
        weather=weather, dn_offset=BASELINE_OFFSET[baseline],
    )  # fmt: skip
    return Product(name, scene)


def _with_faults(regular: list[Product], number: int) -> list[Product]:
    products, last = list(regular), len(regular) - 1
    early, middle = max(last // 6, 0), (last + 1) // 2
    if number == 0:
        products[middle] = replace(products[middle], fault="truncated", fault_band="B05")
        products[last] = replace(products[last], fault="zip")
        duplicate = replace(rerun(products[early], "04.00"), fault="reprocessed")
        return [*products, duplicate, replace(_as_l1c(products[middle - 1 if middle > 1 else early]), fault="l1c")]
    if number == 1:
        halves = halve(products[middle])
        products[early] = replace(products[early], fault="missing_band", fault_band="B11")
        return [*products[:middle], *halves, *products[middle + 1 :]]
    products[early] = replace(products[early], scene=replace(products[early].scene, empty=True), fault="empty")
    return products


def rerun(product: Product, baseline: str) -> Product:
    """The same sensing processed again with another baseline: same ground, same noise, other offset."""
    made = _RUN[baseline] + timedelta(days=40, seconds=product.name.absolute_orbit % 86_400)
    name = replace(product.name, baseline=baseline, made=made)
    return replace(product, name=name, scene=replace(product.scene, dn_offset=BASELINE_OFFSET[baseline]))


def halve(product: Product) -> tuple[Product, Product]:
    """A tile-date divided over two datastrips: the north in one product, the south in the other."""
    # At a pair of rows, so that no 20 m cell is divided.
    rows = product.scene.grid.rows
    share = (int(0.55 * rows) // 2 * 2) / rows
    north = replace(product, scene=replace(product.scene, rows_with_data=(0.0, share)), fault="half")
    later = replace(
        product.name, datastrip_start=product.name.datastrip_start + timedelta(seconds=9), made=product.name.made + timedelta(minutes=37)
    )
    return north, replace(product, name=later, scene=replace(product.scene, rows_with_data=(share, 1.0)), fault="half")


def _as_l1c(product: Product) -> Product:
    name = replace(product.name, level="L1C", baseline="02.06", made=product.name.start + timedelta(hours=2, minutes=31))
    return replace(product, name=name, scene=replace(product.scene, level="L1C", dn_offset=0), fault="", fault_band="")
