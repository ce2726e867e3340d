import embedded  # noqa: F401  an installed Dassl wins over the embedded one
