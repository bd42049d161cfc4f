"""Run hypothesis without deadlines, because other tests use the same cores."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "shared_cores", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared_cores")
