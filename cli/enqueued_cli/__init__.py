"""The command line of enqueued: thin commands over the library, one file each."""
