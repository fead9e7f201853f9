"""Tools around a file in use: benchmark, bulk jobs, Triton, the page in the browser, video, memory limits."""
