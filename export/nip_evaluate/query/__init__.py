"""Attacks on the deployed file, which see its answers and nothing else."""

from nip_evaluate.query.cases import query_cases
from nip_evaluate.query.deployed import DeployedModule
from nip_evaluate.query.sound import sound_queries

__all__ = ["DeployedModule", "query_cases", "sound_queries"]
