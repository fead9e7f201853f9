"""What an evaluation is given: the plan, the file with its network, images, and attacks finished before."""
