import pytest

from e2lm.plugin_manager import RESTRICT_VARIABLE, plugin_manager


@pytest.fixture(autouse=True)
def only_this_plugin(monkeypatch):
    """These tests speak of the signal plugin alone, whatever else is installed."""
    monkeypatch.setenv(RESTRICT_VARIABLE, "signal")
    plugin_manager.cache_clear()
    yield
    plugin_manager.cache_clear()
