"""The SQLite file of the queue, the uploads and the sessions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

VERSION = 1
_SCHEMA = """
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    length INTEGER NOT NULL,
    used_at REAL NOT NULL
);
CREATE TABLE videos (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    upload TEXT NOT NULL,
    name TEXT NOT NULL,
    options TEXT NOT NULL,
    status TEXT NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    rank INTEGER NOT NULL,
    frames INTEGER NOT NULL DEFAULT 0,
    expected_frames INTEGER,
    frames_per_second REAL,
    eta_s REAL,
    limited_by TEXT,
    error TEXT,
    notes TEXT NOT NULL DEFAULT '[]',
    segments INTEGER NOT NULL DEFAULT 0,
    stream TEXT NOT NULL DEFAULT '[]',
    created_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL
);
CREATE INDEX videos_in_turn ON videos (status, rank);
CREATE TABLE sessions (digest TEXT PRIMARY KEY, ends_at REAL NOT NULL);
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database in this file, which is made if missing. It must be used by one thread at a time.

    Raises sqlite3.Error, or ValueError: another version of the service made it.
    """
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.row_factory = sqlite3.Row
    try:
        database.execute("PRAGMA journal_mode = WAL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION:
            raise ValueError(
                f"{path} was made by another version of this service (database version {version}, not {VERSION})"
            )
    except BaseException:
        database.close()
        raise
    return database
