"""Images, as features that are encoded once or as pixels that are read in each epoch."""
