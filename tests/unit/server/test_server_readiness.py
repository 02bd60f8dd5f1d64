"""What a start waits for while TorchServe comes up."""

from __future__ import annotations

import pytest

from server.api import Api
from server.readiness import NotReady, wait_until_ready
from server.tokens import Tokens
from server.topology import SPLIT

NOBODY = "http://127.0.0.1:9"


def test_a_key_file_that_is_half_written_is_no_reason_to_give_up(tmp_path):
    """On a machine with far too much to do Java is at it for seconds: by then the time to wait may be over."""
    (tmp_path / "key_file.json").write_text('{"management": {"key"')
    with pytest.raises(NotReady, match="is not valid JSON"):
        wait_until_ready(Api(NOBODY, NOBODY, Tokens(tmp_path, NOBODY)), SPLIT, lambda: True, timeout=0.1)
