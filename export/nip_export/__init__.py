"""Turns a trained PyTorch classifier into one ONNX file that defends itself."""
