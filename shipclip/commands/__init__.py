"""The commands of the command line, a file each: HELP, `arguments(parser)` and `run(args)`, which returns the exit
status. None imports torch before it is run: --help is quick."""
