"""``make demo``: the main job, start to end, on a real control plane; ``python -m testbed.demo``."""
