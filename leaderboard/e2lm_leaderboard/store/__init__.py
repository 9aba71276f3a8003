"""What is kept of a season: tables, one writer, a log nobody can edit."""
