"""Persons put into pictures: two-stage inpainting for one or many."""
