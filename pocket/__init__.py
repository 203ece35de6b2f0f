"""The making of the pocket model: pictures, autoencoder, denoiser. Run in ComfyUI's environment; never part of the pack."""
