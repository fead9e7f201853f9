"""A small HTTP service around a defended file: answers labels and nothing else.

python -m examples.service MODEL.nip.onnx --port 8000
"""
