"""The composition root: the only place that knows every stage and wires them together."""
