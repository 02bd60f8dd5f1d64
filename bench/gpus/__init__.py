"""Measures what several GPUs of one host gain over one: films on Ray, and pairs behind HAProxy."""
