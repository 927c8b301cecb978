"""What users would pick instead, given the same data on the same machine in the same run."""
