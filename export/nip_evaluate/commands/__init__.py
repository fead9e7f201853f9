"""The commands nip evaluate and nip demo."""
