"""Bulk prediction: folders and Parquet files in, a folder of Parquet parts out.

The inputs are cut into shards by a plan that depends on nothing but the inputs and the settings. One shard is
one call of a function without state: it reads its rows, predicts, and writes its part whole or not at all.
So a shard may be done twice, by whomever, and a part that is there need not be done again: that is all that
resuming, retrying and killed processes rest on.

:func:`nip_runtime.bulk.run.run_batch` does it all; :mod:`nip_runtime.bulk.parts` says what the parts hold.
"""
