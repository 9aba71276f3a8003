"""What is put into lm-eval, and what is written in its formats."""
