"""What an evidence bundle is; verify.py is carried away in each and needs nothing else of ours."""
