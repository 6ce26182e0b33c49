"""The only place where pyspark is imported (with `jobs` and `eespark.launch`)."""
