"""The command without being installed: python -m eden_client INPUT OUTPUT."""

from eden_client.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
