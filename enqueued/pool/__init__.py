"""The processes that make batches: zygotes, workers and the daemon's side of both."""
