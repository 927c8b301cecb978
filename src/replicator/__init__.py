"""Replicator: keeps objects on many storage nodes and moves only the bytes the other side lacks."""

__version__ = "0.1.0"
