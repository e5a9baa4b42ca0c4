"""This package is where the bus, the event log and the streams are specified by example."""
