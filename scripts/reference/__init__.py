"""What make_reference.py is made of: configs, the tiny models, the adapters, and the list of folders."""
