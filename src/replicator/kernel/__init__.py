"""Pure values shared by every process: no I/O, no clock, no randomness."""
