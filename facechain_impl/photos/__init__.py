"""Geometry and pixels: rotate, align, crop, mask, composite, stitch."""
