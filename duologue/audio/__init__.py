"""Audio in and out: files, resampling, companding, features, activity, augmentation."""
