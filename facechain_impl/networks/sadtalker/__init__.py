"""SadTalker's networks: audio encoders, key points, head motion, generator."""
