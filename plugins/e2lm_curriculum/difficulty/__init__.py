"""How hard each example is."""
