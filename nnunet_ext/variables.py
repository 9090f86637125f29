"""The environment variables that nnU-Net reads and users set."""

from __future__ import annotations

NNUNET_VARIABLES = (
    "nnUNet_raw",
    "nnUNet_preprocessed",
    "nnUNet_results",
    "nnUNet_extTrainer",
    "nnUNet_n_proc_DA",
    "nnUNet_def_n_proc",
    "nnUNet_compile",
)
"""Folders, outside trainers, processes, compilation."""
