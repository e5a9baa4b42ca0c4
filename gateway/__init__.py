"""This package is where the gateway runs: settings, application, transports, servers, jobs, commands."""
