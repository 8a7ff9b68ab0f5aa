"""The command line of enqueued."""
