module eespark.test/pause

go 1.23.0
