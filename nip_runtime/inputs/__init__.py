"""What goes in: arrays, image files and sound files, checked and brought into the network's form."""
