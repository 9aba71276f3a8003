"""Programs that are told of scores while an evaluation runs."""
