"""How a file is run: engines over one or two passes, onnxruntime's providers, and where tensors lie."""
