"""Countries and what belongs to them: tables of the slice of knowledge.

Left out are capitals that are disputed, several or being moved, and those with the country's name.
"""

from __future__ import annotations

from quantcurve.slices.makers_parts import listed, paired

EUROPE = paired("""
Albania: Tirana; Austria: Vienna; Belarus: Minsk; Belgium: Brussels; Bosnia and Herzegovina: Sarajevo; Bulgaria: Sofia;
Croatia: Zagreb; the Czech Republic: Prague; Denmark: Copenhagen; Estonia: Tallinn; Finland: Helsinki; France: Paris;
Germany: Berlin; Greece: Athens; Hungary: Budapest; Iceland: Reykjavik; Ireland: Dublin; Italy: Rome; Latvia: Riga;
Liechtenstein: Vaduz; Lithuania: Vilnius; Malta: Valletta; Moldova: Chisinau; Montenegro: Podgorica;
the Netherlands: Amsterdam; North Macedonia: Skopje; Norway: Oslo; Poland: Warsaw; Portugal: Lisbon; Romania: Bucharest;
Serbia: Belgrade; Slovakia: Bratislava; Slovenia: Ljubljana; Spain: Madrid; Sweden: Stockholm; Switzerland: Bern;
Ukraine: Kyiv; the United Kingdom: London
""")
ASIA = paired("""
Afghanistan: Kabul; Bahrain: Manama; Bangladesh: Dhaka; Bhutan: Thimphu; Cambodia: Phnom Penh; China: Beijing;
India: New Delhi; Iran: Tehran; Iraq: Baghdad; Japan: Tokyo; Jordan: Amman; Kyrgyzstan: Bishkek; Laos: Vientiane;
Lebanon: Beirut; Malaysia: Kuala Lumpur; the Maldives: Malé; Mongolia: Ulaanbaatar; Nepal: Kathmandu;
North Korea: Pyongyang; Oman: Muscat; Pakistan: Islamabad; the Philippines: Manila; Qatar: Doha; Saudi Arabia: Riyadh;
South Korea: Seoul; Syria: Damascus; Tajikistan: Dushanbe; Thailand: Bangkok; Turkmenistan: Ashgabat;
the United Arab Emirates: Abu Dhabi; Uzbekistan: Tashkent; Vietnam: Hanoi
""")
AFRICA = paired("""
Angola: Luanda; Algeria: Algiers; Botswana: Gaborone; Burkina Faso: Ouagadougou; Cameroon: Yaoundé; Cape Verde: Praia;
the Central African Republic: Bangui; Chad: N'Djamena; the Comoros: Moroni;
the Democratic Republic of the Congo: Kinshasa; Eritrea: Asmara; Ethiopia: Addis Ababa; Gabon: Libreville;
the Gambia: Banjul; Ghana: Accra; Guinea: Conakry; Kenya: Nairobi; Lesotho: Maseru; Liberia: Monrovia; Libya: Tripoli;
Madagascar: Antananarivo; Malawi: Lilongwe; Mali: Bamako; Mauritania: Nouakchott; Mauritius: Port Louis; Morocco: Rabat;
Mozambique: Maputo; Namibia: Windhoek; Niger: Niamey; Nigeria: Abuja; Rwanda: Kigali; Senegal: Dakar;
the Seychelles: Victoria; Sierra Leone: Freetown; Somalia: Mogadishu; South Sudan: Juba; Sudan: Khartoum;
Tanzania: Dodoma; Togo: Lomé; Tunisia: Tunis; Uganda: Kampala; Zambia: Lusaka; Zimbabwe: Harare
""")
NORTH_AMERICA = paired("""
the Bahamas: Nassau; Barbados: Bridgetown; Belize: Belmopan; Canada: Ottawa; Costa Rica: San José; Cuba: Havana;
Dominica: Roseau; the Dominican Republic: Santo Domingo; El Salvador: San Salvador; Grenada: St. George's;
Haiti: Port-au-Prince; Honduras: Tegucigalpa; Jamaica: Kingston; Nicaragua: Managua; Saint Lucia: Castries;
the United States: Washington, D.C.
""")
SOUTH_AMERICA = paired("""
Argentina: Buenos Aires; Brazil: Brasília; Chile: Santiago; Colombia: Bogotá; Ecuador: Quito; Guyana: Georgetown;
Paraguay: Asunción; Peru: Lima; Suriname: Paramaribo; Uruguay: Montevideo; Venezuela: Caracas
""")
OCEANIA = paired("""
Australia: Canberra; Fiji: Suva; New Zealand: Wellington; Papua New Guinea: Port Moresby; Samoa: Apia;
the Solomon Islands: Honiara; Tonga: Nuku'alofa; Vanuatu: Port Vila
""")
BETWEEN_CONTINENTS = paired("""
Armenia: Yerevan; Azerbaijan: Baku; Cyprus: Nicosia; Egypt: Cairo; Georgia: Tbilisi; Kazakhstan: Astana; Russia: Moscow;
Turkey: Ankara
""")
CAPITALS = EUROPE + ASIA + AFRICA + NORTH_AMERICA + SOUTH_AMERICA + OCEANIA + BETWEEN_CONTINENTS
COUNTRIES = tuple((capital, country) for country, capital in CAPITALS)
CONTINENTS = tuple(
    (country, continent)
    for continent, table in (
        ("Europe", EUROPE),
        ("Asia", ASIA),
        ("Africa", AFRICA),
        ("North America", NORTH_AMERICA),
        ("South America", SOUTH_AMERICA),
        ("Oceania", OCEANIA),
    )
    for country, _ in table
)
STATE_CAPITALS = paired("""
Alabama: Montgomery; Alaska: Juneau; Arizona: Phoenix; Arkansas: Little Rock; California: Sacramento; Colorado: Denver;
Connecticut: Hartford; Delaware: Dover; Florida: Tallahassee; Georgia: Atlanta; Hawaii: Honolulu; Idaho: Boise;
Illinois: Springfield; Indiana: Indianapolis; Iowa: Des Moines; Kansas: Topeka; Kentucky: Frankfort; Louisiana: Baton
Rouge; Maine: Augusta; Maryland: Annapolis; Massachusetts: Boston; Michigan: Lansing; Minnesota: Saint Paul;
Mississippi: Jackson; Missouri: Jefferson City; Montana: Helena; Nebraska: Lincoln; Nevada: Carson City; New Hampshire:
Concord; New Jersey: Trenton; New Mexico: Santa Fe; New York: Albany; North Carolina: Raleigh; North Dakota: Bismarck;
Ohio: Columbus; Oklahoma: Oklahoma City; Oregon: Salem; Pennsylvania: Harrisburg; Rhode Island: Providence; South
Carolina: Columbia; South Dakota: Pierre; Tennessee: Nashville; Texas: Austin; Utah: Salt Lake City; Vermont:
Montpelier; Virginia: Richmond; Washington: Olympia; West Virginia: Charleston; Wisconsin: Madison; Wyoming: Cheyenne
""")
MAIN_LANGUAGES = paired("""
Austria: German; Brazil: Portuguese; China: Mandarin Chinese; the Czech Republic: Czech; Denmark: Danish; Egypt: Arabic;
Finland: Finnish; France: French; Greece: Greek; Hungary: Hungarian; Iceland: Icelandic; Iran: Persian; Israel: Hebrew;
Italy: Italian; Japan: Japanese; Mexico: Spanish; the Netherlands: Dutch; Norway: Norwegian; Poland: Polish;
Romania: Romanian; Russia: Russian; South Korea: Korean; Sweden: Swedish; Thailand: Thai; Turkey: Turkish;
Ukraine: Ukrainian; the United States: English; Vietnam: Vietnamese; Mongolia: Mongolian; Georgia: Georgian;
Cambodia: Khmer; Estonia: Estonian; Lithuania: Lithuanian; Bangladesh: Bengali
""")
CURRENCIES = paired("""
Argentina: the peso; Brazil: the real; China: the yuan; the Czech Republic: the koruna; Denmark: the krone;
Germany: the euro; Hungary: the forint; India: the rupee; Indonesia: the rupiah; Israel: the shekel; Japan: the yen;
Malaysia: the ringgit; Morocco: the dirham; Nigeria: the naira; Poland: the zloty; Romania: the leu; Russia: the ruble;
South Africa: the rand; South Korea: the won; Sweden: the krona; Switzerland: the franc; Thailand: the baht;
Turkey: the lira; the United Kingdom: the pound; the United States: the dollar; Vietnam: the dong; Kenya: the shilling;
Ghana: the cedi; Ukraine: the hryvnia; Mongolia: the tugrik
""")
LANDMARKS = paired("""
the Eiffel Tower: Paris; the Colosseum: Rome; Big Ben: London; the Brandenburg Gate: Berlin; the Acropolis: Athens;
the Kremlin: Moscow; the Statue of Liberty: New York; the Golden Gate Bridge: San Francisco; the Opera House with white
shells for a roof: Sydney; the Forbidden City: Beijing; the Hagia Sophia: Istanbul; the Sagrada Família: Barcelona;
the Prado Museum: Madrid; the Atomium: Brussels; the Charles Bridge: Prague; the Little Mermaid: Copenhagen;
the Burj Khalifa: Dubai; the Petronas Towers: Kuala Lumpur; the CN Tower: Toronto; the statue of Christ the Redeemer:
Rio de Janeiro; the Rialto Bridge: Venice; the Space Needle: Seattle; the Rijksmuseum: Amsterdam; the White House:
Washington, D.C.
""")
CITY_NAMES = listed("Paris; Rome; Berlin; Madrid; Vienna; Lisbon; Athens; Oslo; Warsaw; Dublin; Prague; Budapest")
"""Cities that are in no doubt, for other slices."""
