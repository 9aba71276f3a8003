"""Who is ahead, and how surely."""
