"""What is seen when: curricula from settings to plans, made before training and kept as a file. Knows no model."""
