"""Memory in which payloads wait or arrive: host memory, memory shared between processes, GPU memory."""
