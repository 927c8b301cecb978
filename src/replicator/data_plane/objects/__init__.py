"""What clients do with objects: put, get, range, list, delete."""
