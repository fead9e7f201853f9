"""What is learnt from benign images: influence profiles, read-outs, the perturbation."""
