"""Maps on disk: Cloud-Optimized GeoTIFF or Zarr, written part by part, and read back."""
