"""What makes NodeSets true: each controller is a pure ``decide`` and a thin ``apply``."""
