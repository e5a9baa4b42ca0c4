"""This package is where rows, their transitions and their protection are specified by example."""
