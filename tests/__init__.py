"""How the tests execute the annotations: beartype, a whole number being accepted where a float is asked."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
