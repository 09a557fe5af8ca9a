"""The soak uses the integration tests' nodes and upstream."""

from tests.integration.conftest import make_node, upstream

__all__ = ["make_node", "upstream"]
