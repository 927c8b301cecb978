"""Control-plane state in SQL behind one transaction door. Only `control_plane.main` imports it."""
