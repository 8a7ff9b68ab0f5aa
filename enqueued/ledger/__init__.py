"""What a client notes of each batch that it acknowledges, and the proof from these notes that delivery was exact."""
