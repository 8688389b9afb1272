import pytest


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    """Tiny models are all that is trained here."""
