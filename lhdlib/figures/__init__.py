"""From arrays and result files to figures, tables, words and pages."""
