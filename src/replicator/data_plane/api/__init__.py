"""How a node is reached over HTTP."""
