"""This package is where GraphQL meets the wire: HTTP, event streams and WebSockets on one path."""
