"""Pictures of a person: fusion, prompts, styles, inpainting into a chosen picture."""
