"""Photographs: loading, preparation for training, study, and picking, cropping and stitching of faces."""
