"""The store of a node: segments, catalog, committer, recovery. Only `data_plane.main` imports it."""
