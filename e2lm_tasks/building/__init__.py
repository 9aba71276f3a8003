"""How suites are made from text, and the command that makes them."""
