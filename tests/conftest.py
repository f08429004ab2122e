"""How many cases a property is tried on: few by default, 20,000 each with PILOT_TEST_PROFILE=nightly."""

import os

from hypothesis import settings

settings.register_profile("default", max_examples=50, deadline=None)
settings.register_profile("nightly", max_examples=20_000, deadline=None)
settings.load_profile(os.environ.get("PILOT_TEST_PROFILE", "default"))
