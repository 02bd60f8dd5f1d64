"""The command without being installed: python -m eden_client INPUT OUTPUT."""

from eden_client.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run())
