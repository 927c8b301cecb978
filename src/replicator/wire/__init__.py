"""Messages between processes, and nothing that sends them."""
