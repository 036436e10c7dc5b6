"""ONNX graphs written as arithmetic: a value knows the graph that it is computed in."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Number = float | int
_TYPES = ("DOUBLE", "FLOAT", "INT64", "INT32", "UINT8", "BOOL")
DOUBLE, FLOAT, INT64, INT32, UINT8, BOOL = (getattr(onnx.TensorProto, name) for name in _TYPES)


class Graph:
    """Nodes and constants, in the order in which they are made."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        """Of all names, so that those of several graphs are different."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._made = 0

    def value(self, array: NDArray[Any] | np.generic | Number | Sequence[int]) -> "Value":
        """Give a constant: numbers are doubles, lists are shapes or axes (int64)."""
        if isinstance(array, float | int):
            array = np.float64(array)
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return Value(self, name)

    def named(self, name: str) -> "Value":
        """Give an input of the graph."""
        return Value(self, name)

    def range(self, count: "Value") -> "Value":
        """Give 0, 1, 2 and so on, ``count`` numbers."""
        return self.of("Range", self.value(0), count, self.value(1))

    def of(self, kind: str, *given: "Value", **attributes: Any) -> "Value":
        """Give what an operator of ONNX makes of values."""
        name, self._made = f"{self.prefix}{kind.lower()}_{self._made}", self._made + 1
        inputs = [each.name for each in given]
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return Value(self, name)

    def either(
        self, condition: "Value", this: Callable[[], "Value"], other: Callable[[], "Value"]
    ) -> "Value":
        """Give this where a condition holds, else the other, uint8; only one is computed."""
        branches = []
        for make in (this, other):
            outside, self.nodes = self.nodes, []
            made = helper.make_tensor_value_info(make().name, UINT8, None)
            branches.append(helper.make_graph(self.nodes, made.name, [], [made]))
            self.nodes = outside
        return self.of("If", condition, then_branch=branches[0], else_branch=branches[1])


class Value:
    """A tensor of a graph; numbers beside it are doubles, and so is it, unless something is said.

    Shapes broadcast as in numpy.
    """

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def _value(self, other: "Value | Number") -> "Value":
        return other if isinstance(other, Value) else self.graph.value(other)

    def _with(self, kind: str, other: "Value | Number") -> "Value":
        return self.graph.of(kind, self, self._value(other))

    def __add__(self, other: "Value | Number") -> "Value":
        return self._with("Add", other)

    def __sub__(self, other: "Value | Number") -> "Value":
        return self._with("Sub", other)

    def __mul__(self, other: "Value | Number") -> "Value":
        return self._with("Mul", other)

    def __truediv__(self, other: "Value | Number") -> "Value":
        return self._with("Div", other)

    def __lt__(self, other: "Value | Number") -> "Value":
        return self._with("Less", other)

    def __ge__(self, other: "Value | Number") -> "Value":
        return self._with("GreaterOrEqual", other)

    def __and__(self, other: "Value") -> "Value":
        return self._with("And", other)

    def __matmul__(self, other: "Value") -> "Value":
        return self._with("MatMul", other)

    def least(self, other: "Value | Number") -> "Value":
        """The lesser of both."""
        return self._with("Min", other)

    def most(self, other: "Value | Number") -> "Value":
        """The greater of both."""
        return self._with("Max", other)

    def lowest(self) -> "Value":
        """The lowest of all, a number."""
        return self.graph.of("ReduceMin", self, keepdims=0)

    def highest(self) -> "Value":
        """The highest of all, a number."""
        return self.graph.of("ReduceMax", self, keepdims=0)

    def floor(self) -> "Value":
        """The whole number below."""
        return self.graph.of("Floor", self)

    def cast(self, kind: int) -> "Value":
        """The same as another type of number."""
        return self.graph.of("Cast", self, to=kind)

    def where(self, condition: "Value", other: "Value | Number" = 0.0) -> "Value":
        """The same where a condition holds, and the other elsewhere."""
        return self.graph.of("Where", condition, self, self._value(other))

    def shaped(self, *sides: "Value | int") -> "Value":
        """The same numbers in another shape; sides that are values are doubles without one."""
        parts = [
            self.graph.of("Reshape", side.cast(INT64), self.graph.value([1]))
            if isinstance(side, Value)
            else self.graph.value(np.array([side]))
            for side in sides
        ]
        return self.graph.of("Reshape", self, self.graph.of("Concat", *parts, axis=0))

    def sum(self, axis: int, *, keep: bool = False) -> "Value":
        """The sum along an axis."""
        return self.graph.of("ReduceSum", self, self.graph.value([axis]), keepdims=int(keep))

    def turned(self, *axes: int) -> "Value":
        """The same with its axes in another order."""
        return self.graph.of("Transpose", self, perm=axes)
