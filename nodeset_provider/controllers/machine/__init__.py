"""One Machine's life, a phase a file: launch, register, initialize, terminate."""
