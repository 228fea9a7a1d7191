"""How fast this project is beside the paper's procedure, written plainly, and beside the bare network."""
