"""What every process needs: bootstrap, logging, metrics, problem+json, name resolution, the server."""
