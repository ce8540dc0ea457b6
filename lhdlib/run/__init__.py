"""Running the notebooks, and what a run leaves behind."""
