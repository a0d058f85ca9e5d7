"""Real control plane, simulated cloud and provider as processes, for the demo, the tests and the benchmarks."""
