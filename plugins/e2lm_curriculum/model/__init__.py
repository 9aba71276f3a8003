"""The models that are trained: families, sizes, objectives, losses."""
