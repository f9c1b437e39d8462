"""Names of passbands."""

from __future__ import annotations

import numpy as np
import pytest
from geoembed.errors import UnknownNameError
from geoembed.graphs.passbands import PASSBANDS, VOCABULARY, WAVELENGTH, passband_index, passband_tokens


@pytest.mark.parametrize("name", PASSBANDS)
def test_every_name_of_the_vocabulary_is_its_own_token(name):
    assert PASSBANDS[passband_index(name)] == name


@pytest.mark.parametrize(("alias", "name"), [
    ("ztfg", "g"), ("ztf_r", "r"), ("ZTF-i", "i"), ("zg", "g"), ("lsstu", "u"), ("lssty", "y"), ("sdss_z", "z"), ("SDSS-g", "g"),
    ("g'", "g"), ("gp", "g"), ("zs", "z"), ("ps1::w", "w"), ("PS1.y", "y"), ("Bessell V", "V"), ("bessellb", "B"), ("Johnson U", "U"),
    ("landolt-R", "R"), ("v", "V"), ("Ks", "K"), ("2MASS J", "J"), ("gaia::BP", "BP"), ("Gaia G", "G"), ("ATLAS-cyan", "c"),
    ("orange", "o"), ("WISE W1", "W1"), ("w2", "W2"), ("swift::UVW1", "UVW1"), ("uvm2", "UVM2"), ("f606w", "F606W"), ("HST/F814W", "F814W"),
    ("TESS", "TESS"), ("kp", "Kepler"), ("unfiltered", "clear"), ("", "unspecified"), ("nan", "unspecified"),
    ("None", "unspecified"), (" r ", "r"),
])
def test_surveys_names_mean_the_band_of_their_wavelength(alias, name):
    assert PASSBANDS[passband_index(alias)] == name


def test_capital_and_small_letters_are_other_filters():
    assert len({passband_index(name) for name in "uUrRiIgGyY"}) == 10


@pytest.mark.parametrize("name", ["qq", "F999W", "ztf", "Ha", "5"])
def test_an_unknown_band_lists_the_known_and_the_nearest(name):
    with pytest.raises(UnknownNameError, match=rf"passband: found '{name}'; expected one of FUV, UVW2.*Nearest: .*Rename the band"):
        passband_index(name)


def test_tokens_are_names_or_integers_and_a_missing_name_is_unspecified():
    assert passband_tokens(["g", 3, np.int64(4), float("nan"), None]).tolist() == [passband_index("g"), 3, 4, 0, 0]


def test_the_table_of_an_encoder_has_room_for_every_band():
    assert len(PASSBANDS) <= VOCABULARY
    assert PASSBANDS[0] == "unspecified"
    assert all(1000 < wavelength < 50_000 for name, wavelength in WAVELENGTH.items() if name != "unspecified")


@pytest.mark.parametrize(("name", "band"), [
    ("bessellr", "R"), ("besselli", "I"), ("bessellb", "B"), ("cousinsr", "R"), ("Cousins I", "I"), ("Ic", "I"), ("R_c", "R"),
    ("gaiag", "G"), ("gaia::gbp", "BP"), ("G_RP", "RP"), ("uvot_w1", "UVW1"), ("swift::m2", "UVM2"), ("wise_w1", "W1"), ("HSC-G", "g"),
    ("atlasc", "c"), ("atlas::o", "o"), ("cspb", "B"), ("g-band", "g"), ("r band", "r"), ("g_ZTF", "g"), ("acswfc::f814w", "F814W"),
])
def test_a_survey_decides_what_a_letter_means(name, band):
    assert PASSBANDS[passband_index(name)] == band


@pytest.mark.parametrize("name", ["stromgren b", "B-V", "g - r", "H-alpha", "my r", "x::i", "gaia", "band", "wise_w3"])
def test_a_letter_after_an_unknown_word_and_a_color_are_no_band(name):
    with pytest.raises(UnknownNameError, match="Rename the band"):
        passband_index(name)
