"""This package is where what just happened travels: event log, bus, streams, fan-out."""
