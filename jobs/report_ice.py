"""Write the page of a sea-ice map: one self-contained HTML file on how it was made and how good it is."""

from __future__ import annotations

from eespark.job import run_job
from eespark.report.ice_page import write_ice_report
from eespark.report.settings import IceReportSettings

if __name__ == "__main__":
    run_job("report_ice", IceReportSettings, write_ice_report)
