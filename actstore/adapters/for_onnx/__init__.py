"""ONNX files through onnxruntime."""

from actstore.adapters.for_onnx.adapter import OnnxAdapter

__all__ = ["OnnxAdapter"]
