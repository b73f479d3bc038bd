"""The entry points: settings, the command line, the running stack and the demo."""
