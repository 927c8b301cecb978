"""Pulling objects from other nodes: plan and machine are pure, the driver does the I/O."""
