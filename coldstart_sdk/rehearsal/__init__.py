"""Origins on loopback: what answers, how fast, and what goes wrong, all by choice.

with Origin(directory, rate_bytes_s=30e6) as origin:
    Weights.url(origin.url("model.safetensors"))
"""
