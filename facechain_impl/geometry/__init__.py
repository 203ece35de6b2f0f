"""Pure geometry and pixels: affine maps, crops, masks, stitching. Opens no file and knows no host."""
