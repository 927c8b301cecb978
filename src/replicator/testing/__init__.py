"""Contract suites, fault injectors and strategies: importable by tests, used by nothing else."""
