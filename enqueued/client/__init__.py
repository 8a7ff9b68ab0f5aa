"""What a trainer imports."""
