"""The store: rows and activations as HDF5, in the format of docs/format.md.

``writer`` and ``reader`` are what others use. Writing: ``checks``, ``pending``, ``shard``, ``folder``, ``pack``. What
lies on the disk: ``format``, ``documents``, ``records``, ``journal``, ``rowtable``, ``coding``, ``packed``. How it gets
there and back: ``hdf5``, ``durable``, ``destination``, ``files``.
"""
