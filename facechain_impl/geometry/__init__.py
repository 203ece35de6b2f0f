"""Pure geometry and pixels: affine maps, crops, masks, stitching. Independent of files and of the host."""
