"""The pure core: events in, decisions out; it knows no socket, thread, clock or file."""
