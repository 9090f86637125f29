"""Converters from the formats of nnU-Net's users to its datasets, and the way back.

Each converter runs as ``python dataset_conversion/<name>.py`` and as ``nnunet_ext convert <name>``. A script's own
folder comes first on ``sys.path``: no module here may bear the name of a package it imports, or of a standard module.
"""
