"""
How many cases a property is tried on: few by default, 20,000 each with PILOT_TEST_PROFILE=nightly.

Garbage is collected rarely: the AWS SDK alone is so many objects that looking at them all was a quarter of the time.
"""

import gc
import os

from hypothesis import settings

settings.register_profile("default", max_examples=50, deadline=None)
settings.register_profile("nightly", max_examples=20_000, deadline=None)
settings.load_profile(os.environ.get("PILOT_TEST_PROFILE", "default"))
gc.set_threshold(100_000, 20, 100)
