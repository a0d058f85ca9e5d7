"""The simulated cloud and its driver."""
