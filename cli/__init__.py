"""The programs `actstore` and `probe`: the only place where the store and the solvers meet."""
