"""Models as ONNX files that run without this package: the graphs, their description, the check, the smaller weights."""
