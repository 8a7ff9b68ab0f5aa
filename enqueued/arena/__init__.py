"""Shared memory: sealed segments that a worker writes and a client maps privately."""
