"""What an entrant hands in, and every check of it."""
