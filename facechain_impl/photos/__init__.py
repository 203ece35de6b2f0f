"""Photographs: read, prepared for training, studied, their faces picked, cut out and put back."""
