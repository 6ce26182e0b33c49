"""Make a small Sentinel-1 archive of sea ice whose truth is known, with analysts' polygons and charts.

python jobs/make_polar_archive.py deploy/conf/make_polar_archive.yaml [--check]
"""

from eespark.job import run_job
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.settings import PolarSettings

if __name__ == "__main__":
    run_job("make_polar_archive", PolarSettings, make_polar_archive)
