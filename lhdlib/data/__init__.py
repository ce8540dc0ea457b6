"""From the archive to the datasets: slices, discs, labels, splits."""
