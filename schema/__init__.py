"""This package is where the outside world looks in: GraphQL types, inputs, roots."""
