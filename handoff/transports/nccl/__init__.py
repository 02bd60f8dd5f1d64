"""`nccl`: torch.distributed, point to point between two workers."""
