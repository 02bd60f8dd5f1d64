"""How much more several GPUs of one host do than one: films on Ray, and pairs behind HAProxy."""
