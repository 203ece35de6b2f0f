"""FaceChain inside ComfyUI: what the nodes do, without knowing that nodes exist."""

__version__ = "0.1.0"
