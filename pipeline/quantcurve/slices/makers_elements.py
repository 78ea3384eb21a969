"""Chemical elements and the planets: tables of the slice of knowledge."""

from __future__ import annotations

from quantcurve.slices.makers_parts import listed, paired

ELEMENTS = paired("""
hydrogen: H; helium: He; lithium: Li; beryllium: Be; boron: B; carbon: C; nitrogen: N; oxygen: O; fluorine: F; neon: Ne;
sodium: Na; magnesium: Mg; aluminium: Al; silicon: Si; phosphorus: P; sulfur: S; chlorine: Cl; argon: Ar; potassium: K;
calcium: Ca; scandium: Sc; titanium: Ti; vanadium: V; chromium: Cr; manganese: Mn; iron: Fe; cobalt: Co; nickel: Ni;
copper: Cu; zinc: Zn; gallium: Ga; germanium: Ge; arsenic: As; selenium: Se; bromine: Br; krypton: Kr; rubidium: Rb;
strontium: Sr; yttrium: Y; zirconium: Zr; niobium: Nb; molybdenum: Mo; technetium: Tc; ruthenium: Ru; rhodium: Rh;
palladium: Pd; silver: Ag; cadmium: Cd; indium: In; tin: Sn; antimony: Sb; tellurium: Te; iodine: I; xenon: Xe;
caesium: Cs; barium: Ba
""")
"""In the order of their atomic numbers, from 1."""
HEAVY_ELEMENTS = paired("""
tungsten: W; platinum: Pt; gold: Au; mercury: Hg; lead: Pb; bismuth: Bi; radium: Ra; radon: Rn; thorium: Th; uranium: U;
plutonium: Pu; osmium: Os; iridium: Ir; tantalum: Ta; thallium: Tl; polonium: Po
""")
SYMBOLS = ELEMENTS + HEAVY_ELEMENTS
OF_SYMBOLS = tuple((symbol, element) for element, symbol in SYMBOLS)
ATOMIC_NUMBERS = tuple((element, str(place)) for place, (element, _) in enumerate(ELEMENTS, start=1))
PLANETS = listed("Mercury; Venus; Earth; Mars; Jupiter; Saturn; Uranus; Neptune")
"""In their order from the Sun."""
