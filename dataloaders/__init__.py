"""This package is where rows are fetched in batches."""
