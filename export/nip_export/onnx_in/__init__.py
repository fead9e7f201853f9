"""Classifiers whose PyTorch source is lost: an ONNX file in, a module the export works on out.

What is computed by the defended file stays the user's own graph. A rebuild of it in torch, checked against
the file in onnxruntime, gives what the graph cannot: gradients.
"""

from nip_export.onnx_in.load import from_onnx

__all__ = ["from_onnx"]
