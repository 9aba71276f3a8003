"""Code of strangers, run where it can do no harm."""
