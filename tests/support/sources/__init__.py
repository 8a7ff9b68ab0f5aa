"""Sources for the tests, importable by the processes that they start."""
