"""Loss laws, their fits and their published constants."""
