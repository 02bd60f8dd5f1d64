"""What the model does in process and what TorchServe serves, for each topology, on the same GPUs in the same run."""
