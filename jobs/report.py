"""Write the report: one self-contained HTML page on how the map was made and how good it is."""

from __future__ import annotations

from eespark.job import run_job
from eespark.report.page import write_report
from eespark.report.settings import ReportSettings

if __name__ == "__main__":
    run_job("report", ReportSettings, write_report)
