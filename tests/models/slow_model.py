"""A real ONNX file that takes as long as one of its features says: a loop of so many rounds."""

from __future__ import annotations

from onnx import TensorProto, checker, helper


def looping_artifact(width: int, rounds_feature: int, probability: float = 0.25, always: int = 0) -> bytes:
    """Answers `probability` after as many rounds as the feature's value, and `always` more; a round takes some 2 us."""
    flag, number, count = TensorProto.BOOL, TensorProto.FLOAT, TensorProto.INT64
    node, value, constant = helper.make_node, helper.make_tensor_value_info, helper.make_tensor
    body = helper.make_graph(
        [node("Identity", ["on"], ["goes_on"]), node("Add", ["sum", "nothing"], ["more"])],
        "round",
        [value("round", count, []), value("on", flag, []), value("sum", number, [1])],
        [value("goes_on", flag, []), value("more", number, [1])],
        [constant("nothing", number, [1], [0.0])],
    )
    graph = helper.make_graph(
        [
            node("Gather", ["X", "place"], ["column"], axis=1),
            node("ReduceMax", ["column"], ["largest"], keepdims=0),
            node("Add", ["largest", "always"], ["all"]),
            node("Cast", ["all"], ["rounds"], to=count),
            node("Loop", ["rounds", "yes", "probability"], ["looped"], body=body),
            node("Mul", ["column", "zero"], ["zeros"]),
            node("Add", ["zeros", "looped"], ["fraud"]),
            node("Sub", ["one", "fraud"], ["legit"]),
            node("Concat", ["legit", "fraud"], ["probabilities"], axis=1),
            node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        ],
        "looping",
        [value("X", number, [None, width])],
        [value("label", count, [None]), value("probabilities", number, [None, 2])],
        [
            constant("place", count, [1], [rounds_feature]),
            constant("always", number, [], [float(always)]),
            constant("yes", flag, [], [True]),
            constant("probability", number, [1], [probability]),
            constant("zero", number, [1], [0.0]),
            constant("one", number, [1], [1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())
