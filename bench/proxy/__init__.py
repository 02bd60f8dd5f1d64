"""Kills, replaces and drains servers behind HAProxy, under load."""
