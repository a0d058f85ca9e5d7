"""A small stand-in for the Cluster Autoscaler on a real API server: for demos and tests, not for production."""
