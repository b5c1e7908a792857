"""Property tests here touch files, so a slow disk must not fail them."""

from hypothesis import settings

settings.register_profile("data", parent=settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("data")
