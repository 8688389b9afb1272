import pytest
import skimage.data

from aihub_corpus import write_bad, write_good


@pytest.fixture(scope="module")
def delivery(tmp_path_factory):
    """Root of the corpus, its usable names, and a filled cache beside it."""
    root = tmp_path_factory.mktemp("aihub") / "delivery"
    names = write_good(root, skimage.data.astronaut())
    return root, names, *write_bad(root, skimage.data.astronaut())
