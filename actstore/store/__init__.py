"""The store: rows and activations as HDF5, in the format of docs/format.md.

``writer`` and ``reader`` are what others use; ``attach``, ``merge``, ``pack`` and ``verify`` work on what is there.

- Writing: ``checks`` and ``idcheck`` look at what comes, ``pending`` and ``begun`` keep it, ``background``, ``sealing``
  and ``shard`` make shards of it, ``room`` and ``destination`` choose how large and where, ``completion`` proves that
  all is there, ``leftovers`` and ``staging`` clear up.
- On the disk: ``format``, ``documents``, ``records``, ``journal``, ``rank``, ``steps``, ``place``, ``streams``,
  ``rowtable``, ``coding``, ``packed``.
- Reading: ``folder`` and ``contents`` find out what there is; ``layer``, ``layers``, ``files``, ``taking``,
  ``checking`` and ``indexing`` read it.
- Checking: ``survey``, ``rehash``, ``damage``.
- The machine: ``durable`` (files and their syncs), ``locks`` and ``heldfile``, ``hdf5`` (the one file that calls HDF5).
"""
