"""Bulk prediction: folders and Parquet files in, a folder of Parquet parts out.

The inputs are cut into shards by a plan that depends on nothing but the inputs and the settings. One shard is
one call of a function without state: it reads its rows, predicts, and writes its part whole or not at all.
So a shard may be done twice, by whomever, and a part that is there need not be done again: that is all that
resuming, retrying and killed processes rest on.

:func:`nip_runtime.operate.bulk.run.run_batch` does it all. The modules, in the order of their work:

======== ============================= =============================================================
what     modules                       who
======== ============================= =============================================================
plan     config, sources, plan         the driver: what was asked for, what is there, who does what
drive    run, drive, engines, pool     the driver: shards through processes or Dask, until done
do       shard, answers                a worker: one shard
read     rows, columns, row_groups     a worker: rows of files, or why there are none
write    folder, parts                 both: what lies in the output folder
======== ============================= =============================================================

``arrow`` loads pyarrow for all of them; :mod:`nip_runtime.operate.bulk.parts` says what the parts hold.
"""
