"""The simulated cloud: what it can make, what it has made, and the HTTP server in front of that."""
