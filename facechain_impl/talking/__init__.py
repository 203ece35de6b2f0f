"""The talking portrait: audio features, motion, renderer, video."""
