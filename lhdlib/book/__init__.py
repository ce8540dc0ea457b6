"""The book: the executed notebooks of a run as one page to read."""
