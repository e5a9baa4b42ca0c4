"""This package is where it is proven that tenants are kept apart, and that each layer alone would do it."""
