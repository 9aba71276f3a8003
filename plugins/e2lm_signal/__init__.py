"""Early-signal scores: does a benchmark say anything early in training?"""
