"""Every checkpoint of a run scored: from ``e2lm eval`` to the files it leaves."""
