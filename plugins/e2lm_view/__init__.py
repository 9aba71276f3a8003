"""The view: an evaluation as one page to look at, in a file or served while the run goes on."""
