"""The daemon: streams and pools, with sockets."""
