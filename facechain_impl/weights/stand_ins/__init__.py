"""Files of random numbers in the published layouts, for tests and demonstrations, marked as such."""
