"""A stream of single images in, their answers out in order; decoding, copies and compute overlap."""

from nip_runtime.stream.answers import Answer, OnError, image_reader, predict_stream

__all__ = ["Answer", "OnError", "image_reader", "predict_stream"]
