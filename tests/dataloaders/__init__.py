"""This package is where loaders and lists are specified by example, over real rows."""
