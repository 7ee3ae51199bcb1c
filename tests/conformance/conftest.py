"""The scripts here are no modules of this process: each is run in one of its own."""

collect_ignore_glob = ["run_*.py", "keras_tests.py"]
