"""States of nodes, jobs, tasks and leases and the transitions allowed between them. Pure."""
