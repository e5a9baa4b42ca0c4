"""This package is where rows live: what is true, their legal transitions, what protects them at rest."""
