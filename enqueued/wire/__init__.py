"""What daemon and client say to each other; PROTOCOL.md is the specification."""
