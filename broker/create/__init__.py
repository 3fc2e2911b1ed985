"""What `create` commands write: adapters, devices and routes that work as they are written. Sends nothing."""
