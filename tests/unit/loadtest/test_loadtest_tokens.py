"""A token that expires under load: the users of a Locust process are greenlets of one thread."""

from __future__ import annotations

import subprocess
import sys
import time

from server.settings import PROJECT
from tests.key_files import write_key_file
from tests.recorder import recorder

USERS = """
from gevent import monkey
monkey.patch_all()
import gevent, sys
from pathlib import Path
from eden_client.api.tokens import KeyFile
sources = [KeyFile(Path(sys.argv[1]), sys.argv[2]) for _ in range(4)]
users = [gevent.spawn(source.current) for source in sources]
gevent.joinall(users)
print(*(user.value for user in users))
"""


def test_users_who_find_it_expired_at_once_get_the_one_new_token(tmp_path):
    file = tmp_path / "key_file.json"

    def renew() -> bytes:
        time.sleep(0.2)  # long enough for the others to come
        write_key_file(file, "new", 3600)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    write_key_file(file, "old", 0)
    with recorder(answer=renew) as management:
        call = [sys.executable, "-c", USERS, file, management.url]
        done = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == ["new"] * 4, done.stderr
        assert len(management.heard) == 1
