"""A server under mixed load and faults for an hour: is every call answered right, and does anything grow?"""
