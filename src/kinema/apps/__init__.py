"""One function per verb, ``run(config) -> result``: shared by the command line and notebooks."""
