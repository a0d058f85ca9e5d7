"""Properties hold however busy the machine is: no example has a deadline, and none is too slow to be drawn."""

from hypothesis import HealthCheck, settings

settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timeless")
