"""Maps: a whole scene in, a georeferenced raster of features out."""
