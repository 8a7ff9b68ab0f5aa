"""The one encoding of a batch: the same bytes in a slot, on the wire and in the spool."""
