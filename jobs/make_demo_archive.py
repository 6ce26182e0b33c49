"""Make a small Sentinel-2 archive whose truth is known, with declarations and survey points.

python jobs/make_demo_archive.py deploy/conf/make_demo_archive.yaml [--check]
"""

from eespark.job import run_job
from eespark.synthetic.archive import make_archive
from eespark.synthetic.settings import ArchiveSettings

if __name__ == "__main__":
    run_job("make_demo_archive", ArchiveSettings, make_archive)
