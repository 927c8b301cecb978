"""The control plane: knows the nodes, runs durable jobs, never touches object bytes."""
