"""The networks of a run as ONNX files."""
