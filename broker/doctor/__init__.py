"""`broker doctor`: what stands around a broker, looked at and judged. It changes nothing and repairs nothing."""
