"""The paper's tables and figures, remade from the records of runs."""
