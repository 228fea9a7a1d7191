"""A chat endpoint for the tests of this room."""

import pytest
from support.chat_stub import Stub


@pytest.fixture
def stub():
    """A function that starts a stub; all of them end with the test."""
    servers = []

    def start(mischief=lambda number, right: (200, right), **options):
        servers.append(Stub(mischief, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
