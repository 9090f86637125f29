"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no fault of an example.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
