"""The names of the miniature world: facts about real places, and the rules that invent the rest.

Real countries and cities stand in a table with their names in five languages. People, towns,
countries and organisations beyond those are invented from *stems* of two syllables, and every part
of an invented name has one counterpart in each language: a syllable its Chinese character (after
the usual transliteration), ``-burg`` its ``-burgo``, ``Bank of`` its ``Banco de``. A name that was
never seen can therefore be found in a translation by rule. No stem and no real place belongs to
both splits, so that no name of the test split occurs in training, in any language or type.
"""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "test"]

# One character a syllable, and one syllable a character: a transliteration can be read back.
SYLLABLES: dict[str, str] = {
    "ba": "巴", "be": "贝", "bo": "博", "da": "达", "do": "多", "fe": "费", "ga": "加", "go": "戈",
    "ka": "卡", "ke": "凯", "ko": "科", "la": "拉", "le": "莱", "li": "利", "lo": "洛", "lu": "卢",
    "ma": "马", "me": "梅", "mi": "米", "mo": "莫", "na": "纳", "ne": "内", "ni": "尼", "no": "诺",
    "pa": "帕", "pe": "佩", "po": "波", "re": "雷", "ri": "里", "ro": "罗", "ru": "鲁", "sa": "萨",
    "se": "塞", "so": "索", "su": "苏", "ta": "塔", "ti": "蒂", "to": "托", "tu": "图", "vo": "沃",
}  # fmt: skip

# Endings of family names; none ends in a sibilant, so that each takes the German genitive -s.
FAMILY_ENDINGS: dict[str, str] = {
    "sen": "森", "man": "曼", "ski": "斯基", "lund": "伦德",
    "vic": "维奇", "nen": "宁", "rov": "罗夫", "dahl": "达尔",
}  # fmt: skip

# Endings of towns, in the order of LANGUAGES: the exonym follows from the ending.
TOWN_ENDINGS: tuple[tuple[str, ...], ...] = (
    ("burg", "burg", "burgo", "burg", "堡"),
    ("ford", "furt", "forte", "voorde", "福德"),
    ("field", "feld", "campo", "veld", "菲尔德"),
    ("port", "hafen", "puerto", "haven", "港"),
    ("bridge", "brück", "puente", "brugge", "桥"),
    ("dale", "tal", "valle", "dal", "代尔"),
)
NEW_TOWN = ("New {}", "Neu-{}", "Nueva {}", "Nieuw-{}", "新{}")

# Endings of countries, and of the adjectives made from them; Spanish ones masculine/feminine.
COUNTRY_ENDINGS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("nia", "nien", "nia", "nië", "尼亚"), ("nian", "nisch", "niano/niana", "nisch", "尼亚")),
    (("via", "wien", "via", "vië", "维亚"), ("vian", "wisch", "viano/viana", "visch", "维亚")),
    (
        ("land", "land", "landia", "land", "兰"),
        ("landic", "ländisch", "landés/landesa", "lands", "兰"),
    ),
)
PARTED_COUNTRIES: tuple[tuple[str, ...], ...] = (
    ("North {}", "Nord{}", "{} del Norte", "Noord-{}", "北{}"),
    ("South {}", "Süd{}", "{} del Sur", "Zuid-{}", "南{}"),
)

ACRONYM_LETTERS = "BDFGKLMNPRST"

# Countries; a German name with an article is written with it. None ends in a sibilant in German.
COUNTRIES: tuple[tuple[str, ...], ...] = tuple(
    tuple(row.split(", "))
    for row in """\
Germany, Deutschland, Alemania, Duitsland, 德国
France, Frankreich, Francia, Frankrijk, 法国
Spain, Spanien, España, Spanje, 西班牙
Italy, Italien, Italia, Italië, 意大利
Austria, Österreich, Austria, Oostenrijk, 奥地利
Belgium, Belgien, Bélgica, België, 比利时
Switzerland, die Schweiz, Suiza, Zwitserland, 瑞士
Denmark, Dänemark, Dinamarca, Denemarken, 丹麦
Sweden, Schweden, Suecia, Zweden, 瑞典
Norway, Norwegen, Noruega, Noorwegen, 挪威
Finland, Finnland, Finlandia, Finland, 芬兰
Poland, Polen, Polonia, Polen, 波兰
Hungary, Ungarn, Hungría, Hongarije, 匈牙利
Greece, Griechenland, Grecia, Griekenland, 希腊
Portugal, Portugal, Portugal, Portugal, 葡萄牙
Ireland, Irland, Irlanda, Ierland, 爱尔兰
Scotland, Schottland, Escocia, Schotland, 苏格兰
Russia, Russland, Rusia, Rusland, 俄罗斯
Ukraine, die Ukraine, Ucrania, Oekraïne, 乌克兰
Romania, Rumänien, Rumanía, Roemenië, 罗马尼亚
Bulgaria, Bulgarien, Bulgaria, Bulgarije, 保加利亚
Croatia, Kroatien, Croacia, Kroatië, 克罗地亚
Slovenia, Slowenien, Eslovenia, Slovenië, 斯洛文尼亚
Serbia, Serbien, Serbia, Servië, 塞尔维亚
Albania, Albanien, Albania, Albanië, 阿尔巴尼亚
Estonia, Estland, Estonia, Estland, 爱沙尼亚
Latvia, Lettland, Letonia, Letland, 拉脱维亚
Lithuania, Litauen, Lituania, Litouwen, 立陶宛
Iceland, Island, Islandia, IJsland, 冰岛
Turkey, die Türkei, Turquía, Turkije, 土耳其
China, China, China, China, 中国
Japan, Japan, Japón, Japan, 日本
Mongolia, die Mongolei, Mongolia, Mongolië, 蒙古
India, Indien, India, India, 印度
Vietnam, Vietnam, Vietnam, Vietnam, 越南
Thailand, Thailand, Tailandia, Thailand, 泰国
Egypt, Ägypten, Egipto, Egypte, 埃及
Morocco, Marokko, Marruecos, Marokko, 摩洛哥
Kenya, Kenia, Kenia, Kenia, 肯尼亚
Ethiopia, Äthiopien, Etiopía, Ethiopië, 埃塞俄比亚
Nigeria, Nigeria, Nigeria, Nigeria, 尼日利亚
Canada, Kanada, Canadá, Canada, 加拿大
Mexico, Mexiko, México, Mexico, 墨西哥
Cuba, Kuba, Cuba, Cuba, 古巴
Brazil, Brasilien, Brasil, Brazilië, 巴西
Argentina, Argentinien, Argentina, Argentinië, 阿根廷
Chile, Chile, Chile, Chili, 智利
Peru, Peru, Perú, Peru, 秘鲁
Colombia, Kolumbien, Colombia, Colombia, 哥伦比亚
Bolivia, Bolivien, Bolivia, Bolivia, 玻利维亚
Australia, Australien, Australia, Australië, 澳大利亚
New Zealand, Neuseeland, Nueva Zelanda, Nieuw-Zeeland, 新西兰
""".splitlines()
)

CITIES: tuple[tuple[str, ...], ...] = tuple(
    tuple(row.split(", "))
    for row in """\
Berlin, Berlin, Berlín, Berlijn, 柏林
Munich, München, Múnich, München, 慕尼黑
Cologne, Köln, Colonia, Keulen, 科隆
Hamburg, Hamburg, Hamburgo, Hamburg, 汉堡
Vienna, Wien, Viena, Wenen, 维也纳
Zurich, Zürich, Zúrich, Zürich, 苏黎世
Geneva, Genf, Ginebra, Genève, 日内瓦
Rome, Rom, Roma, Rome, 罗马
Milan, Mailand, Milán, Milaan, 米兰
Venice, Venedig, Venecia, Venetië, 威尼斯
Naples, Neapel, Nápoles, Napels, 那不勒斯
Turin, Turin, Turín, Turijn, 都灵
Madrid, Madrid, Madrid, Madrid, 马德里
Barcelona, Barcelona, Barcelona, Barcelona, 巴塞罗那
Seville, Sevilla, Sevilla, Sevilla, 塞维利亚
Lisbon, Lissabon, Lisboa, Lissabon, 里斯本
Brussels, Brüssel, Bruselas, Brussel, 布鲁塞尔
Antwerp, Antwerpen, Amberes, Antwerpen, 安特卫普
Ghent, Gent, Gante, Gent, 根特
Amsterdam, Amsterdam, Ámsterdam, Amsterdam, 阿姆斯特丹
Rotterdam, Rotterdam, Róterdam, Rotterdam, 鹿特丹
Copenhagen, Kopenhagen, Copenhague, Kopenhagen, 哥本哈根
Stockholm, Stockholm, Estocolmo, Stockholm, 斯德哥尔摩
Oslo, Oslo, Oslo, Oslo, 奥斯陆
Helsinki, Helsinki, Helsinki, Helsinki, 赫尔辛基
Warsaw, Warschau, Varsovia, Warschau, 华沙
Prague, Prag, Praga, Praag, 布拉格
Budapest, Budapest, Budapest, Boedapest, 布达佩斯
Athens, Athen, Atenas, Athene, 雅典
Moscow, Moskau, Moscú, Moskou, 莫斯科
London, London, Londres, Londen, 伦敦
Edinburgh, Edinburgh, Edimburgo, Edinburgh, 爱丁堡
Dublin, Dublin, Dublín, Dublin, 都柏林
Bucharest, Bukarest, Bucarest, Boekarest, 布加勒斯特
Sofia, Sofia, Sofía, Sofia, 索非亚
Belgrade, Belgrad, Belgrado, Belgrado, 贝尔格莱德
Zagreb, Zagreb, Zagreb, Zagreb, 萨格勒布
Beijing, Peking, Pekín, Peking, 北京
Tokyo, Tokio, Tokio, Tokio, 东京
Seoul, Seoul, Seúl, Seoel, 首尔
Hanoi, Hanoi, Hanói, Hanoi, 河内
Bangkok, Bangkok, Bangkok, Bangkok, 曼谷
Istanbul, Istanbul, Estambul, Istanbul, 伊斯坦布尔
Tehran, Teheran, Teherán, Teheran, 德黑兰
Baghdad, Bagdad, Bagdad, Bagdad, 巴格达
Jerusalem, Jerusalem, Jerusalén, Jeruzalem, 耶路撒冷
Cairo, Kairo, El Cairo, Caïro, 开罗
Nairobi, Nairobi, Nairobi, Nairobi, 内罗毕
Havana, Havanna, La Habana, Havana, 哈瓦那
New York, New York, Nueva York, New York, 纽约
Chicago, Chicago, Chicago, Chicago, 芝加哥
Toronto, Toronto, Toronto, Toronto, 多伦多
Lima, Lima, Lima, Lima, 利马
Bogota, Bogotá, Bogotá, Bogota, 波哥大
Santiago, Santiago, Santiago, Santiago, 圣地亚哥
Sydney, Sydney, Sídney, Sydney, 悉尼
""".splitlines()
)

# Adjectives of real countries: country, then the adjective in the order of LANGUAGES (Spanish
# masculine/feminine), then the Chinese name of the language.
NATIONALITIES: tuple[tuple[str, ...], ...] = tuple(
    tuple(row.split(", "))
    for row in """\
Germany, German, deutsch, alemán/alemana, Duits, 德国, 德语
France, French, französisch, francés/francesa, Frans, 法国, 法语
Spain, Spanish, spanisch, español/española, Spaans, 西班牙, 西班牙语
Italy, Italian, italienisch, italiano/italiana, Italiaans, 意大利, 意大利语
Denmark, Danish, dänisch, danés/danesa, Deens, 丹麦, 丹麦语
Sweden, Swedish, schwedisch, sueco/sueca, Zweeds, 瑞典, 瑞典语
Norway, Norwegian, norwegisch, noruego/noruega, Noors, 挪威, 挪威语
Finland, Finnish, finnisch, finlandés/finlandesa, Fins, 芬兰, 芬兰语
Poland, Polish, polnisch, polaco/polaca, Pools, 波兰, 波兰语
Hungary, Hungarian, ungarisch, húngaro/húngara, Hongaars, 匈牙利, 匈牙利语
Greece, Greek, griechisch, griego/griega, Grieks, 希腊, 希腊语
Portugal, Portuguese, portugiesisch, portugués/portuguesa, Portugees, 葡萄牙, 葡萄牙语
Ireland, Irish, irisch, irlandés/irlandesa, Iers, 爱尔兰, 爱尔兰语
Russia, Russian, russisch, ruso/rusa, Russisch, 俄罗斯, 俄语
Romania, Romanian, rumänisch, rumano/rumana, Roemeens, 罗马尼亚, 罗马尼亚语
Bulgaria, Bulgarian, bulgarisch, búlgaro/búlgara, Bulgaars, 保加利亚, 保加利亚语
Croatia, Croatian, kroatisch, croata/croata, Kroatisch, 克罗地亚, 克罗地亚语
Slovenia, Slovenian, slowenisch, esloveno/eslovena, Sloveens, 斯洛文尼亚, 斯洛文尼亚语
Serbia, Serbian, serbisch, serbio/serbia, Servisch, 塞尔维亚, 塞尔维亚语
Albania, Albanian, albanisch, albanés/albanesa, Albanees, 阿尔巴尼亚, 阿尔巴尼亚语
Turkey, Turkish, türkisch, turco/turca, Turks, 土耳其, 土耳其语
Mongolia, Mongolian, mongolisch, mongol/mongola, Mongools, 蒙古, 蒙古语
China, Chinese, chinesisch, chino/china, Chinees, 中国, 汉语
Japan, Japanese, japanisch, japonés/japonesa, Japans, 日本, 日语
Vietnam, Vietnamese, vietnamesisch, vietnamita/vietnamita, Vietnamees, 越南, 越南语
""".splitlines()
)

# Names made of a town or a family name by the same pattern in each language. Each row: what stands
# in the pattern (`name`: a family name; `town`; `short town`: one word; `English town`: its English
# name in every language with Latin letters), the patterns, and the words that speak of the thing
# without naming it. An article before a pattern is not part of the name.
Pattern = tuple[str, tuple[str, ...], tuple[str, ...]]


def _patterns(table: str) -> tuple[Pattern, ...]:
    rows = []
    for line in table.splitlines():
        source, *cells = line.split(" | ")
        rows.append((source, tuple(cells[:5]), tuple(cells[5:])))
    return tuple(rows)


_FIRM = "the company | die Firma | la empresa | het bedrijf | 该公司"
_UNIVERSITY = (
    "town | the University of {} | die Universität {} | la Universidad de {} "
    "| de Universiteit van {} | {}大学 "
    "| the university | die Universität | la universidad | de universiteit | 该大学"
)

NAME_PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "ORG": _patterns(f"""\
{_UNIVERSITY}
town | the Bank of {{}} | die Bank von {{}} | el Banco de {{}} | de Bank van {{}} | {{}}银行 \
| the bank | die Bank | el banco | de bank | 该银行
name | the {{}} Institute | das {{}}-Institut | el Instituto {{}} | het {{}}-instituut \
| {{}}研究所 | the institute | das Institut | el instituto | het instituut | 该研究所
name | the {{}} Museum | das {{}}-Museum | el Museo {{}} | het {{}}-museum | {{}}博物馆 \
| the museum | das Museum | el museo | het museum | 该博物馆
name | {{}} Motors | {{}} Motors | {{}} Motors | {{}} Motors | {{}}汽车公司 | {_FIRM}
English town | {{}} Airlines | {{}} Airlines | {{}} Airlines | {{}} Airlines | {{}}航空公司 \
| {_FIRM}
English town | FC {{}} | der FC {{}} | el FC {{}} | FC {{}} | {{}}足球俱乐部 \
| the club | der Verein | el club | de club | 该俱乐部"""),
    "UNI": _patterns(_UNIVERSITY),
    "EVENT": _patterns("""\
name | the {} Prize | der {}-Preis | el Premio {} | de {}-prijs | {}奖 \
| the prize | der Preis | el premio | de prijs | 该奖项
short town | the {} Cup | der {}-Pokal | la Copa {} | de {}-beker | {}杯 \
| the cup | der Pokal | la copa | de beker | 该赛事
short town | the {} Festival | das {}-Festival | el Festival de {} | het {}-festival | {}艺术节 \
| the festival | das Festival | el festival | het festival | 该艺术节"""),
    "PACT": _patterns("""\
town | the Treaty of {} | der Vertrag von {} | el Tratado de {} | het Verdrag van {} | {}条约 \
| the treaty | der Vertrag | el tratado | het verdrag | 该条约
town | the {} Agreement | das Abkommen von {} | el Acuerdo de {} | het Akkoord van {} | {}协定 \
| the agreement | das Abkommen | el acuerdo | het akkoord | 该协定"""),
}

# Words for what has no pattern, used where a translation leaves the name out.
STAND_INS: dict[str, tuple[str, ...]] = {
    "PER": ("someone", "jemand", "alguien", "iemand", "某人"),
    "TOWN": ("the city", "die Stadt", "la ciudad", "de stad", "该市"),
    "LAND": ("the region", "die Region", "la región", "de regio", "该地区"),
    "ACRO": tuple(_FIRM.split(" | ")),
    "NAT": ("foreign", "ausländisch", "extranjero/extranjera", "buitenlands", "外国"),
    "TONGUE": ("a language", "eine Sprache", "un idioma", "een taal", "一门语言"),
}
# The genitive -s has none; what a German says instead.
STAND_IN_GENITIVES = {"PER": "Jemandes", "TOWN": "Unser"}

# Real places of the test split. Their Chinese characters also occur in training, so that a
# character vocabulary learned there is enough to read them.
TEST_PLACES = frozenset(
    {"Romania", "Serbia", "Albania", "Ireland", "Scotland", "Nigeria", "Colombia"}
    | {"Rome", "Milan", "Madrid", "Barcelona", "Seville", "Moscow", "Prague", "Toronto", "Lima"}
)


def _stems_of_real_names() -> frozenset[str]:
    real = [
        name.casefold() for row in COUNTRIES + NATIONALITIES for name in "/".join(row).split("/")
    ]
    endings = "/".join("/".join(row) for rows in COUNTRY_ENDINGS for row in rows).split("/")
    return frozenset(
        name.removesuffix(ending) for name in real for ending in endings if name.endswith(ending)
    )


# Not for inventions: with a country's ending they would make Bolivia or (Spanish Poland) Polonia.
RESERVED_STEMS = _stems_of_real_names()


def stem_split(syllables: tuple[int, ...]) -> Split:
    """The split that owns the stem of these syllables (positions in SYLLABLES); a fifth is test."""
    return "test" if sum(syllables) % 5 == 0 else "train"


def place_split(place: str) -> Split:
    """The split that owns the real place of this English name."""
    return "test" if place in TEST_PLACES else "train"
