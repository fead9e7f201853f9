"""Attacks on the undefended network or a surrogate, and the one way in which every attack is run."""

from nip_evaluate.attacks.catalogue import CORE, NATURAL, catalogue
from nip_evaluate.attacks.run import run_attack
from nip_evaluate.attacks.select import select
from nip_evaluate.attacks.sound import sound_catalogue
from nip_evaluate.attacks.transfer import transfer_cases

__all__ = ["CORE", "NATURAL", "catalogue", "run_attack", "select", "sound_catalogue", "transfer_cases"]
