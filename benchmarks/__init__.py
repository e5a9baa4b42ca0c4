"""This package is where claims of speed are measured: side by side, in one run, as ratios."""
