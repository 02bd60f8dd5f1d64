"""Runs a server under mixed load and faults for an hour, and checks every call and every resource."""
