"""What parts that are there only once cost per frame, per call and per job, and how many GPUs they could feed."""
