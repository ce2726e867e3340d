"""What trainers.report is made of: runs found in a tree, tables of them, formats."""
