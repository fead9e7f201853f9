"""The door for files: what passes it is what its manifest says, and all that onnxruntime ever sees."""

from nip_runtime.file.artifact.opening import (
    IN_MEMORY,
    Artifact,
    InMemory,
    check_container,
    check_content,
    opened,
    read_artifact,
)

__all__ = ["IN_MEMORY", "Artifact", "InMemory", "check_container", "check_content", "opened", "read_artifact"]
