"""Load for an EDEN server, by Locust: `locust -f loadtest/` in the project's folder offers every scenario."""
