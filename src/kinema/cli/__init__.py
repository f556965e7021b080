"""The command line: one thin module per verb; heavy imports only after parsing."""
