"""What a proposed route set would change: files, waiting deliveries, worklist rows, and outputs of past traffic."""
