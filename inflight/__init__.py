"""The command line and the run: compose from config, start, supervise, observe, stop."""
