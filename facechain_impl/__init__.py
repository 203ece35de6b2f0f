"""FaceChain inside ComfyUI: what the nodes do, without knowing that nodes exist."""
