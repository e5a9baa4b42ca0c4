"""This package is where the running gateway is specified: servers, transports, commands, jobs."""
