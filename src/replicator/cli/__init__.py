"""The `replicator` command."""
