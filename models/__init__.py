"""Turn features into scores: model contracts, ONNX, River, the registry."""
