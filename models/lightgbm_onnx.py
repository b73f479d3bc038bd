"""LightGBM's trees as ONNX bytes, exactly: made from the text form of its booster, LightGBM itself is not needed.

Two things differ between the two, and both are settled here. LightGBM compares in double precision, ONNX in single:
a threshold is rounded down, so that the same float32 values go left. And LightGBM takes NaN for 0 at a split whose
feature had no NaN when it was fitted: ONNX is told which side that is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from models.onnx_export import INPUT, OPSET, float32_at_most

IR_VERSION = 8
NO_SPLIT: dict[str, Any] = {
    "split_feature": 0,
    "threshold": 0.0,
    "decision_type": "<=",
    "missing_type": "None",
    "left_child": {"leaf_value": 0.0},
    "right_child": {"leaf_value": 0.0},
}
"""Where nothing was learned: a graph needs at least one tree."""

Attributes = defaultdict[str, list[Any]]


class NotConvertible(ValueError):
    """The booster has a form that has no exact ONNX here. A retry cannot help; it names what to leave out."""


def booster_onnx(dump: Mapping[str, Any]) -> bytes:
    """The ONNX bytes of a binary classifier, from what `Booster.dump_model()` gives. Raises `NotConvertible`."""
    from onnx import TensorProto, checker, helper

    if str(dump["objective"]).split() != ["binary", "sigmoid:1"] or dump["average_output"]:
        raise NotConvertible(
            f"the booster has the objective {dump['objective']!r}{' and averages its trees' * dump['average_output']}; "
            "leave objective, sigmoid and boosting_type as they are"
        )
    roots = [tree["tree_structure"] for tree in dump["tree_info"]]
    constant = sum((float(root["leaf_value"]) for root in roots if "leaf_value" in root), 0.0)
    named: Attributes = defaultdict(list)
    for number, root in enumerate([root for root in roots if "leaf_value" not in root] or [NO_SPLIT]):
        _add(named, number, root)
    n_features = int(dump["max_feature_idx"]) + 1
    node = helper.make_node(
        "TreeEnsembleClassifier",
        [INPUT],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        base_values=[constant],
        classlabels_int64s=[0, 1],
        post_transform="LOGISTIC",
        **named,
    )
    graph = helper.make_graph(
        [node],
        "lightgbm",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, n_features])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSET.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="headrace")
    checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _add(named: Attributes, tree: int, root: Mapping[str, Any]) -> None:
    """Number the nodes of a tree from its root, level by level, and write down each."""
    waiting = [root]
    for place, node in enumerate(waiting):  # grows while it is walked
        is_leaf = "leaf_value" in node
        left, right = (0, 0) if is_leaf else (len(waiting), len(waiting) + 1)
        if is_leaf:
            named["class_treeids"].append(tree)
            named["class_nodeids"].append(place)
            named["class_ids"].append(0)
            named["class_weights"].append(float(node["leaf_value"]))
        else:
            waiting += [node["left_child"], node["right_child"]]
        named["nodes_treeids"].append(tree)
        named["nodes_nodeids"].append(place)
        named["nodes_modes"].append("LEAF" if is_leaf else "BRANCH_LEQ")
        named["nodes_featureids"].append(0 if is_leaf else int(node["split_feature"]))
        named["nodes_values"].append(0.0 if is_leaf else float32_at_most(float(node["threshold"])))
        named["nodes_truenodeids"].append(left)
        named["nodes_falsenodeids"].append(right)
        named["nodes_missing_value_tracks_true"].append(0 if is_leaf else int(_nan_goes_left(node)))


def _nan_goes_left(node: Mapping[str, Any]) -> bool:
    if node["decision_type"] != "<=":
        raise NotConvertible(f"a split of the booster is {node['decision_type']!r}; give it no categorical features")
    match node["missing_type"]:
        case "NaN":
            return bool(node["default_left"])
        case "None":
            return float(node["threshold"]) >= 0.0
    raise NotConvertible(f"a split takes {node['missing_type']!r} for missing; leave zero_as_missing off")
