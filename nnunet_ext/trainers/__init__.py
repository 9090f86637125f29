"""Trainers that stock nnU-Net finds by name; nothing is imported before one is asked for."""

# The same as the entry points in pyproject.toml (a test compares them), for installs without entry points.
MODULE_OF_TRAINER = {
    "nnUNetTrainer_betterIgnoreSampling": "nnunet_ext.trainers.ignore_sampling",
    "nnUNetTrainer_betterIgnoreSampling_noSmooth": "nnunet_ext.trainers.ignore_sampling",
    "nnUNetTrainer_betterIgnoreSampling_earlyStopValLoss": "nnunet_ext.trainers.ignore_sampling",
    "nnUNetTrainerDA5_betterIgnoreSampling": "nnunet_ext.trainers.ignore_sampling_da5",
    "nnUNetTrainerDA5_betterIgnoreSampling_noSmooth": "nnunet_ext.trainers.ignore_sampling_da5",
    "nnUNetTrainerDA5ord0_betterIgnoreSampling": "nnunet_ext.trainers.ignore_sampling_da5",
    "nnUNetTrainerDA5ord0_betterIgnoreSampling_noSmooth": "nnunet_ext.trainers.ignore_sampling_da5",
    "nnUNetTrainer_noSmooth": "nnunet_ext.trainers.no_smooth",
    "nnUNetTrainer_earlyStopValLoss": "nnunet_ext.trainers.early_stopping",
    "nnUNetTrainerEarlyStopping": "nnunet_ext.trainers.early_stopping",
    "nnUNetTrainerFocalLoss": "nnunet_ext.trainers.dice_focal",
    "nnUNetTrainerAdamCosineWarmup": "nnunet_ext.trainers.adam_cosine_warmup",
    "nnUNetTrainerMTL": "nnunet_ext.trainers.multitask",
    "nnUNetTrainerMTL_betterIgnoreSampling": "nnunet_ext.trainers.multitask",
    "nnUNetTrainerMTLearly": "nnunet_ext.trainers.multitask",
    "nnUNetTrainerMTLearly_betterIgnoreSampling": "nnunet_ext.trainers.multitask",
    "nnUNetTrainerMTLlate": "nnunet_ext.trainers.multitask",
    "nnUNetTrainerMTLlate_betterIgnoreSampling": "nnunet_ext.trainers.multitask",
    "nnUNetTrainerMTLrecon": "nnunet_ext.trainers.multitask_reconstruction",
    "nnUNetTrainerMTLrecon_betterIgnoreSampling": "nnunet_ext.trainers.multitask_reconstruction",
    "nnUNetTrainerMTLearlyUncertainty": "nnunet_ext.trainers.multitask_uncertainty",
    "nnUNetTrainerMTLearlyUncertainty_betterIgnoreSampling": "nnunet_ext.trainers.multitask_uncertainty",
}
