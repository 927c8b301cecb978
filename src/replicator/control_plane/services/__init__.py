"""What the API can ask for."""
