"""Mean-field theory: what wide networks should do, what finite width adds, critical points, predictions."""
