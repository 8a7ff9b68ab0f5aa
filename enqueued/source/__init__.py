"""The user's code to positions; runs only in the zygote, in workers and in `enqueued check`."""
