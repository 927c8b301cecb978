"""Typed clients of the control plane and of a node."""
