"""What lets a trainer of one's own follow a plan: examples in order, batches, checks, index files of other trainers."""
