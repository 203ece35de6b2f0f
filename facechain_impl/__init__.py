"""The implementation behind the nodes, independent of them."""

__version__ = "0.1.0"
