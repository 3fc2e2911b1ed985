"""First-party adapters: a folder per system, a file per direction. They enter through entry points, like anyone's."""
