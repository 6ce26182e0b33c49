"""eespark: training sets from the Copernicus archives and maps from them, on Apache Spark."""

__version__ = "0.1.0"
