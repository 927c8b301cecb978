"""The messages of proto/replicator/v1 as the values of `replication.ports`, both ways, checked. Pure."""
