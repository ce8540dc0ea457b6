"""Beyond the paper: how sure the numbers are, and whether the heatmaps show what they seem to show."""
