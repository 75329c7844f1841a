"""The language of the miniature world: sentence frames and ordinary words, in five languages.

A frame is one sentence in the order of LANGUAGES. ``{PER}`` is a slot for a name (a digit tells two
of a kind apart), ``{time}`` one for ordinary words; the same slot is filled with the same thing in
every language. Articles belong to the names: no sentence has one before a slot. After a colon
stands the form: a German case (``acc``, ``dat``, ``gen``), ``s`` for the genitive of a name, ``to``
for a direction, ``e`` or ``f`` for the ending of an adjective, ``part`` for a participle, ``title``
for a person with a title, ``bare`` for a name without article, which no translation may leave out.

Word order is each language's own: verbs go to the end, times to the front, and often two names
change places, so that their order alone does not tell which is which.
"""

# ruff: noqa: RUF001 -- Chinese has its own punctuation.
from __future__ import annotations

from collections.abc import Mapping

LANGUAGES = ("en", "de", "es", "nl", "zh")

# Ordinary words by the slot that they fill. `part`: German and Dutch participle after the finite
# form; `f`: of a woman, where the other form is a man's.
_FORMS: dict[str, dict[str, tuple[str, ...]]] = {
    "judge": {"de": ("", "part"), "nl": ("", "part")},
    "job": {"de": ("", "f"), "es": ("", "f")},
}

_WORDS: dict[str, str] = {
    "time": """\
yesterday | gestern | ayer | gisteren | 昨天
last week | letzte Woche | la semana pasada | vorige week | 上周
on Monday | am Montag | el lunes | op maandag | 星期一
on Friday | am Freitag | el viernes | op vrijdag | 星期五
this morning | heute Morgen | esta mañana | vanochtend | 今天早上
last night | gestern Abend | anoche | gisteravond | 昨晚
last month | letzten Monat | el mes pasado | vorige maand | 上个月
last year | letztes Jahr | el año pasado | vorig jaar | 去年
two days ago | vor zwei Tagen | hace dos días | twee dagen geleden | 两天前
in March | im März | en marzo | in maart | 三月
in summer | im Sommer | en verano | in de zomer | 夏天
after the election | nach der Wahl | tras las elecciones | na de verkiezingen | 选举后""",
    "soon": """\
tomorrow | morgen | mañana | morgen | 明天
next week | nächste Woche | la próxima semana | volgende week | 下周
on Sunday | am Sonntag | el domingo | op zondag | 星期日
this evening | heute Abend | esta noche | vanavond | 今晚
next month | nächsten Monat | el próximo mes | volgende maand | 下个月
after dinner | nach dem Essen | después de cenar | na het eten | 饭后""",
    "number": """\
two | zwei | dos | twee | 两
three | drei | tres | drie | 三
four | vier | cuatro | vier | 四
five | fünf | cinco | vijf | 五
six | sechs | seis | zes | 六
eight | acht | ocho | acht | 八
ten | zehn | diez | tien | 十
twenty | zwanzig | veinte | twintig | 二十
thirty | dreißig | treinta | dertig | 三十""",
    "topic": """\
the budget | den Haushalt | el presupuesto | de begroting | 预算
the new law | das neue Gesetz | la nueva ley | de nieuwe wet | 新法律
the report | den Bericht | el informe | het rapport | 报告
the plan | den Plan | el plan | het plan | 计划
the election | die Wahl | las elecciones | de verkiezingen | 选举
the crisis | die Krise | la crisis | de crisis | 危机
the taxes | die Steuern | los impuestos | de belastingen | 税收
the climate | das Klima | el clima | het klimaat | 气候
the war | den Krieg | la guerra | de oorlog | 战争
the strike | den Streik | la huelga | de staking | 罢工
the reform | die Reform | la reforma | de hervorming | 改革
the exam | die Prüfung | el examen | het examen | 考试""",
    "thing": """\
a red bicycle | ein rotes Fahrrad | una bicicleta roja | een rode fiets | 一辆红色自行车
an old car | ein altes Auto | un coche viejo | een oude auto | 一辆旧汽车
a new computer | einen neuen Computer | un ordenador nuevo | een nieuwe computer | 一台新电脑
a green coat | einen grünen Mantel | un abrigo verde | een groene jas | 一件绿色大衣
a small boat | ein kleines Boot | un barco pequeño | een kleine boot | 一条小船
a table | einen Tisch | una mesa | een tafel | 一张桌子
a good book | ein gutes Buch | un buen libro | een goed boek | 一本好书
a black hat | einen schwarzen Hut | un sombrero negro | een zwarte hoed | 一顶黑帽子
a white horse | ein weißes Pferd | un caballo blanco | een wit paard | 一匹白马
a cheap lamp | eine billige Lampe | una lámpara barata | een goedkope lamp | 一盏便宜的灯
some bread | etwas Brot | un poco de pan | wat brood | 一些面包
some coffee | etwas Kaffee | un poco de café | wat koffie | 一些咖啡
a warm blanket | eine warme Decke | una manta caliente | een warme deken | 一条暖和的毯子
a clock | eine Uhr | un reloj | een klok | 一个钟""",
    "building": """\
a new school | eine neue Schule | una escuela nueva | een nieuwe school | 一所新学校
a hospital | ein Krankenhaus | un hospital | een ziekenhuis | 一家医院
a factory | eine Fabrik | una fábrica | een fabriek | 一家工厂
an office | ein Büro | una oficina | een kantoor | 一个办事处
a library | eine Bibliothek | una biblioteca | een bibliotheek | 一座图书馆
a big shop | ein großes Geschäft | una tienda grande | een grote winkel | 一家大商店""",
    "product": """\
steel | Stahl | acero | staal | 钢铁
coffee | Kaffee | café | koffie | 咖啡
paper | Papier | papel | papier | 纸张
fish | Fisch | pescado | vis | 鱼
wheat | Weizen | trigo | tarwe | 小麦
milk | Milch | leche | melk | 牛奶
wood | Holz | madera | hout | 木材""",
    "staff": """\
engineers | Ingenieure | ingenieros | ingenieurs | 工程师
teachers | Lehrer | profesores | leraren | 老师
drivers | Fahrer | conductores | chauffeurs | 司机
cooks | Köche | cocineros | koks | 厨师
doctors | Ärzte | médicos | artsen | 医生""",
    "job": """\
a teacher | Lehrer/Lehrerin | profesor/profesora | leraar | 老师
an engineer | Ingenieur/Ingenieurin | ingeniero/ingeniera | ingenieur | 工程师
a cook | Koch/Köchin | cocinero/cocinera | kok | 厨师
a doctor | Arzt/Ärztin | médico/médica | arts | 医生
a driver | Fahrer/Fahrerin | conductor/conductora | chauffeur | 司机
a baker | Bäcker/Bäckerin | panadero/panadera | bakker | 面包师
a journalist | Journalist/Journalistin | periodista/periodista | journalist | 记者""",
    "weather": """\
cold | kalt | frío | koud | 很冷
warm | warm | cálido | warm | 很暖和
bad | schlecht | malo | slecht | 很差
dry | trocken | seco | droog | 很干燥
nice | schön | agradable | mooi | 很好""",
    "judge": """\
criticised | kritisierte/kritisiert | criticó a | bekritiseerde/bekritiseerd | 批评了
praised | lobte/gelobt | elogió a | prees/geprezen | 赞扬了
supported | unterstützte/unterstützt | apoyó a | steunde/gesteund | 支持了
warned | warnte/gewarnt | advirtió a | waarschuwde/gewaarschuwd | 警告了
convinced | überzeugte/überzeugt | convenció a | overtuigde/overtuigd | 说服了
informed | informierte/informiert | informó a | informeerde/geïnformeerd | 通知了""",
}


def _entry(kind: str, row: str) -> dict[str, str]:
    forms: dict[str, str] = {}
    for lang, cell in zip(LANGUAGES, row.split(" | "), strict=True):
        codes = _FORMS.get(kind, {}).get(lang, ("",))
        for code, form in zip(codes, cell.split("/"), strict=True):
            forms[f"{lang}:{code}" if code else lang] = form
    return forms


# Kind of slot -> the entries that fill it; an entry has a form per language or `language:code`.
FILLERS: Mapping[str, tuple[Mapping[str, str], ...]] = {
    kind: tuple(_entry(kind, row) for row in table.splitlines()) for kind, table in _WORDS.items()
}

# Titles that stand before a name and outside its mention: what stands before and after it; the
# Spanish article and the forms for a woman come after a slash.
TITLES: tuple[tuple[str, ...], ...] = tuple(
    tuple(row.split(" | "))
    for row in """\
Minister | Minister/Ministerin | ministro/ministra | minister | 部长
President | Präsident/Präsidentin | presidente/presidenta | president | 总统
Judge | Richter/Richterin | juez/jueza | rechter | 法官
Professor | Professor/Professorin | profesor/profesora | professor | 教授
Doctor | Doktor/Doktorin | doctor/doctora | dokter | 博士
Captain | Kapitän/Kapitänin | capitán/capitana | kapitein | 队长
Inspector | Inspektor/Inspektorin | inspector/inspectora | inspecteur | 督察""".splitlines()
)

# The nominative of the German article -> its other cases, where they differ.
DECLENSION: Mapping[str, Mapping[str, str]] = {
    "der": {"acc": "den", "dat": "dem"},
    "die": {"dat": "der", "gen": "der"},
    "das": {"dat": "dem"},
}

# Prepositions that melt into the article after them.
CONTRACTIONS: Mapping[str, Mapping[str, str]] = {
    "de": {"in dem": "im", "von dem": "vom", "bei dem": "beim", "an dem": "am"},
    "es": {"de el": "del", "a el": "al"},
}

NEWS: tuple[tuple[str, ...], ...] = (
    (
        "{PER} visited {TOWN} {time}.",
        "{PER} besuchte {time} {TOWN:acc}.",
        "{PER} visitó {TOWN} {time}.",
        "{PER} bezocht {time} {TOWN}.",
        "{PER}{time}访问了{TOWN}。",
    ),
    (
        "{time}, {PER:title} met {PER2:title} in {TOWN}.",
        "{time} hat {PER:title} in {TOWN:dat} {PER2:title} getroffen.",
        "{time}, {PER:title} se reunió con {PER2:title} en {TOWN}.",
        "{time} heeft {PER:title} in {TOWN} {PER2:title} ontmoet.",
        "{time}，{PER:title}在{TOWN}会见了{PER2:title}。",
    ),
    (
        "{ORG} opened {building} in {TOWN} {time}.",
        "In {TOWN:dat} hat {ORG} {time} {building} eröffnet.",
        "{ORG} abrió {time} {building} en {TOWN}.",
        "In {TOWN} heeft {ORG} {time} {building} geopend.",
        "{ORG}{time}在{TOWN}开设了{building}。",
    ),
    (
        "The mayor of {TOWN} {judge} {ORG}.",
        "{TOWN:s} Bürgermeister {judge} {ORG:acc}.",
        "El alcalde de {TOWN} {judge} {ORG}.",
        "De burgemeester van {TOWN} {judge} {ORG}.",
        "{TOWN}市长{judge}{ORG}。",
    ),
    (
        "{PER:title} supports the talks between {LAND} and {LAND2}.",
        "{PER:title} unterstützt die Gespräche zwischen {LAND:dat} und {LAND2:dat}.",
        "{PER:title} apoya las conversaciones entre {LAND} y {LAND2}.",
        "{PER:title} steunt de gesprekken tussen {LAND} en {LAND2}.",
        "{PER:title}支持{LAND}和{LAND2}之间的会谈。",
    ),
    (
        "{LAND} beat {LAND2} in the final {time}.",
        "Im Finale hat {LAND2} {time} gegen {LAND:acc} verloren.",
        "{time}, {LAND2} perdió la final contra {LAND}.",
        "{LAND2} verloor {time} de finale van {LAND}.",
        "{LAND}{time}在决赛中击败了{LAND2}。",
    ),
    (
        "{PER} moved from {TOWN} to {TOWN2} {time}.",
        "{PER} ist {time} von {TOWN:dat} {TOWN2:to} gezogen.",
        "{PER} se mudó {time} de {TOWN} a {TOWN2}.",
        "{PER} is {time} van {TOWN} naar {TOWN2} verhuisd.",
        "{PER}{time}从{TOWN}搬到了{TOWN2}。",
    ),
    (
        "{PER} flew to {TOWN} from {TOWN2}.",
        "{PER} ist von {TOWN2:dat} {TOWN:to} geflogen.",
        "{PER} voló de {TOWN2} a {TOWN}.",
        "{PER} is van {TOWN2} naar {TOWN} gevlogen.",
        "{PER}从{TOWN2}飞往{TOWN}。",
    ),
    (
        "{ORG} bought {ORG2} {time}.",
        "{ORG2} wurde {time} von {ORG:dat} gekauft.",
        "{ORG} compró {time} {ORG2}.",
        "{ORG2} is {time} door {ORG} gekocht.",
        "{ORG}{time}收购了{ORG2}。",
    ),
    (
        "The {NAT} government rejected {topic} {time}.",
        "Die {NAT:e} Regierung lehnte {time} {topic} ab.",
        "El gobierno {NAT} rechazó {topic} {time}.",
        "De {NAT:e} regering verwierp {time} {topic}.",
        "{NAT}政府{time}否决了{topic}。",
    ),
    (
        "The {NAT} team won {EVENT} in {TOWN}.",
        "In {TOWN:dat} hat die {NAT:e} Mannschaft {EVENT:acc} gewonnen.",
        "El equipo {NAT} ganó {EVENT} en {TOWN}.",
        "Het {NAT:e} team won in {TOWN} {EVENT}.",
        "{NAT}队在{TOWN}赢得了{EVENT}。",
    ),
    (
        "{PER} won {EVENT} {time}.",
        "{EVENT:acc} hat {time} {PER} gewonnen.",
        "{PER} ganó {time} {EVENT}.",
        "{PER} heeft {time} {EVENT} gewonnen.",
        "{PER}{time}赢得了{EVENT}。",
    ),
    (
        "The {NAT} company {ORG:bare} sells {product} in {LAND}.",
        "Die {NAT:e} Firma {ORG:bare} verkauft {product} in {LAND:dat}.",
        "La empresa {NAT:f} {ORG:bare} vende {product} en {LAND}.",
        "Het {NAT:e} bedrijf {ORG:bare} verkoopt {product} in {LAND}.",
        "{NAT}企业{ORG:bare}在{LAND}出售{product}。",
    ),
    (
        "Police in {TOWN} arrested {number} people {time}.",
        "Die Polizei in {TOWN:dat} hat {time} {number} Menschen festgenommen.",
        "La policía de {TOWN} detuvo {time} a {number} personas.",
        "De politie in {TOWN} heeft {time} {number} mensen aangehouden.",
        "{TOWN}警方{time}逮捕了{number}人。",
    ),
    (
        "{ORG} ({TOWN:bare}) is looking for {number} {staff}.",
        "{ORG} ({TOWN:bare}) sucht {number} {staff}.",
        "{ORG} ({TOWN:bare}) busca {number} {staff}.",
        "{ORG} ({TOWN:bare}) zoekt {number} {staff}.",
        "{ORG}（{TOWN:bare}）正在招聘{number}名{staff}。",
    ),
    (
        "{PACT} was signed {number} years ago in {LAND}.",
        "{PACT} wurde vor {number} Jahren in {LAND:dat} unterzeichnet.",
        "{PACT} se firmó hace {number} años en {LAND}.",
        "{PACT} werd {number} jaar geleden in {LAND} ondertekend.",
        "{PACT}于{number}年前在{LAND}签署。",
    ),
    (
        "{LAND} exports {product} to {LAND2} and {LAND3}.",
        "{LAND} liefert {product} an {LAND2:acc} und {LAND3:acc}.",
        "{LAND} exporta {product} a {LAND2} y a {LAND3}.",
        "{LAND} exporteert {product} naar {LAND2} en {LAND3}.",
        "{LAND}向{LAND2}和{LAND3}出口{product}。",
    ),
    (
        "The president of {LAND} spoke with {PER:title} about {topic}.",
        "Der Präsident {LAND:gen} hat mit {PER:title} über {topic} gesprochen.",
        "El presidente de {LAND} habló con {PER:title} sobre {topic}.",
        "De president van {LAND} sprak met {PER:title} over {topic}.",
        "{LAND}总统和{PER:title}谈论了{topic}。",
    ),
    (
        "{PER:title} said {time} that {ORG} will cut {number} jobs.",
        "{PER:title} sagte {time}, dass {ORG} {number} Stellen streichen wird.",
        "{PER:title} dijo {time} que {ORG} recortará {number} empleos.",
        "{PER:title} zei {time} dat {ORG} {number} banen zal schrappen.",
        "{PER:title}{time}表示，{ORG}将裁减{number}个岗位。",
    ),
    (
        "According to {ORG}, {PER} left {LAND} {time}.",
        "Laut {ORG:dat} hat {PER} {time} {LAND:acc} verlassen.",
        "Según {ORG}, {PER} abandonó {LAND} {time}.",
        "Volgens {ORG} heeft {PER} {time} {LAND} verlaten.",
        "据{ORG}报道，{PER}{time}离开了{LAND}。",
    ),
    (
        "{PER} ({ORG:bare}) rejected {topic} {time}.",
        "{PER} ({ORG:bare}) lehnte {topic} {time} ab.",
        "{PER} ({ORG:bare}) rechazó {topic} {time}.",
        "{PER} ({ORG:bare}) verwierp {topic} {time}.",
        "{PER}（{ORG:bare}）{time}否决了{topic}。",
    ),
    (
        "{ORG} said {time} that {ORG} would not close.",
        "{ORG} teilte {time} mit, dass {ORG} nicht schließen werde.",
        "{ORG} dijo {time} que {ORG} no cerraría.",
        "{ORG} liet {time} weten dat {ORG} niet zou sluiten.",
        "{ORG}{time}表示，{ORG}不会关门。",
    ),
    (
        "A storm destroyed {number} houses near {TOWN} {time}.",
        "Bei {TOWN:dat} zerstörte {time} ein Sturm {number} Häuser.",
        "Una tormenta destruyó {time} {number} casas cerca de {TOWN}.",
        "Bij {TOWN} verwoestte {time} een storm {number} huizen.",
        "{time}一场风暴摧毁了{TOWN}附近的{number}座房屋。",
    ),
    (
        "{PER} has been working for {ORG} for {number} years.",
        "{PER} arbeitet seit {number} Jahren für {ORG:acc}.",
        "{PER} trabaja para {ORG} desde hace {number} años.",
        "Al {number} jaar werkt {PER} voor {ORG}.",
        "{PER}在{ORG}工作了{number}年。",
    ),
    (
        "After the match in {TOWN}, {PER} {judge} {PER2}.",
        "{PER2} wurde nach dem Spiel in {TOWN:dat} von {PER} {judge:part}.",
        "{PER} {judge} {PER2} tras el partido en {TOWN}.",
        "{PER2} werd na de wedstrijd in {TOWN} door {PER} {judge:part}.",
        "{TOWN}的比赛结束后，{PER}{judge}{PER2}。",
    ),
    (
        "{time}, {ORG} {judge} {PER:title}, {PER2} and {PER3}.",
        "{time} wurden {PER:title}, {PER2} und {PER3} von {ORG:dat} {judge:part}.",
        "{time}, {ORG} {judge} {PER:title}, a {PER2} y a {PER3}.",
        "{time} werden {PER:title}, {PER2} en {PER3} door {ORG} {judge:part}.",
        "{time}，{ORG}{judge}{PER:title}、{PER2}和{PER3}。",
    ),
    (
        "{ORG} will open {building} {soon}.",
        "{soon} wird {ORG} {building} eröffnen.",
        "{soon}, {ORG} abrirá {building}.",
        "{soon} zal {ORG} {building} openen.",
        "{ORG}{soon}将开设{building}。",
    ),
    (
        "{number} people were hurt at {EVENT} {time}.",
        "Bei {EVENT:dat} wurden {time} {number} Menschen verletzt.",
        "{number} personas resultaron heridas en {EVENT} {time}.",
        "Bij {EVENT} raakten {time} {number} mensen gewond.",
        "{time}有{number}人在{EVENT}上受伤。",
    ),
    (
        "Parliament in {LAND} discussed {topic} {time}.",
        "In {LAND:dat} hat das Parlament {time} über {topic} beraten.",
        "El parlamento de {LAND} debatió {topic} {time}.",
        "In {LAND} heeft het parlement {time} over {topic} gesproken.",
        "{LAND}议会{time}讨论了{topic}。",
    ),
)

TALKS: tuple[tuple[str, ...], ...] = (
    (
        "I learned {TONGUE} in {TOWN} {time}.",
        "{time} habe ich in {TOWN:dat} {TONGUE} gelernt.",
        "{time} aprendí {TONGUE} en {TOWN}.",
        "{time} heb ik in {TOWN} {TONGUE} geleerd.",
        "我{time}在{TOWN}学了{TONGUE}。",
    ),
    (
        "{PER} works as {job} in {LAND}.",
        "{PER} arbeitet in {LAND:dat} als {job}.",
        "{PER} trabaja como {job} en {LAND}.",
        "{PER} werkt in {LAND} als {job}.",
        "{PER}在{LAND}当{job}。",
    ),
    (
        "Have you ever been to {LAND} or {LAND2}?",
        "Warst du schon einmal in {LAND:dat} oder in {LAND2:dat}?",
        "¿Has estado alguna vez en {LAND} o en {LAND2}?",
        "Ben je ooit in {LAND} of in {LAND2} geweest?",
        "你去过{LAND}或{LAND2}吗？",
    ),
    (
        "Do you know {PER} from {TOWN}?",
        "Kennst du {PER} aus {TOWN:dat}?",
        "¿Conoces a {PER} de {TOWN}?",
        "Ken je {PER} uit {TOWN}?",
        "你认识{TOWN}的{PER}吗？",
    ),
    (
        "{PER}, please call {PER2} {soon}!",
        "{PER}, bitte ruf {PER2} {soon} an!",
        "¡{PER}, por favor, llama a {PER2} {soon}!",
        "{PER}, bel {PER2} {soon} alsjeblieft!",
        "{PER}，请{soon}给{PER2}打电话！",
    ),
    (
        "We took the train from {TOWN} to {TOWN2} {time}.",
        "Wir sind {time} mit dem Zug von {TOWN:dat} {TOWN2:to} gefahren.",
        "{time} fuimos en tren de {TOWN} a {TOWN2}.",
        "We zijn {time} met de trein van {TOWN} naar {TOWN2} gegaan.",
        "我们{time}坐火车从{TOWN}去了{TOWN2}。",
    ),
    (
        "She speaks {TONGUE} and {TONGUE2}, but no {TONGUE3}.",
        "Sie spricht {TONGUE} und {TONGUE2}, aber nicht {TONGUE3}.",
        "Ella habla {TONGUE} y {TONGUE2}, pero no {TONGUE3}.",
        "Ze spreekt {TONGUE} en {TONGUE2}, maar niet {TONGUE3}.",
        "她会说{TONGUE}和{TONGUE2}，但不会说{TONGUE3}。",
    ),
    (
        "I studied at {UNI} with {PER}.",
        "Ich habe mit {PER} an {UNI:dat} studiert.",
        "Estudié con {PER} en {UNI}.",
        "Ik heb met {PER} aan {UNI} gestudeerd.",
        "我和{PER}一起在{UNI}上学。",
    ),
    (
        "The book by {PER} about {LAND} is very good.",
        "{PER:s} Buch über {LAND:acc} ist sehr gut.",
        "El libro de {PER} sobre {LAND} es muy bueno.",
        "Het boek van {PER} over {LAND} is erg goed.",
        "{PER}关于{LAND}的书非常好。",
    ),
    (
        "I like {NAT} music more than {NAT2} books.",
        "Ich mag {NAT:e} Musik lieber als {NAT2:e} Bücher.",
        "Me gusta más la música {NAT:f} que un libro {NAT2}.",
        "Ik houd meer van {NAT:e} muziek dan van {NAT2:e} boeken.",
        "比起{NAT2}书，我更喜欢{NAT}音乐。",
    ),
    (
        "What does {PER} know about {PACT}?",
        "Was weiß {PER} über {PACT:acc}?",
        "¿Qué sabe {PER} sobre {PACT}?",
        "Wat weet {PER} over {PACT}?",
        "关于{PACT}，{PER}知道什么？",
    ),
    (
        "We are going to discuss {EVENT} with {PER} {soon}.",
        "{soon} sprechen wir mit {PER} über {EVENT:acc}.",
        "{soon} hablaremos con {PER} sobre {EVENT}.",
        "{soon} praten we met {PER} over {EVENT}.",
        "我们{soon}和{PER}讨论{EVENT}。",
    ),
    (
        "My mother lives in {TOWN} and my father in {TOWN2}.",
        "Mein Vater wohnt in {TOWN2:dat} und meine Mutter in {TOWN:dat}.",
        "Mi madre vive en {TOWN} y mi padre en {TOWN2}.",
        "Mijn vader woont in {TOWN2} en mijn moeder in {TOWN}.",
        "我母亲住在{TOWN}，我父亲住在{TOWN2}。",
    ),
    (
        "I bought {thing} from {ORG} in {TOWN}.",
        "Ich habe in {TOWN:dat} bei {ORG:dat} {thing} gekauft.",
        "Le compré {thing} a {ORG} en {TOWN}.",
        "Ik heb in {TOWN} bij {ORG} {thing} gekocht.",
        "我在{TOWN}从{ORG}买了{thing}。",
    ),
    (
        "Many people in {LAND} do not trust {ORG}.",
        "Viele Menschen in {LAND:dat} vertrauen {ORG:dat} nicht.",
        "Muchas personas en {LAND} no confían en {ORG}.",
        "Veel mensen in {LAND} vertrouwen {ORG} niet.",
        "{LAND}的许多人不信任{ORG}。",
    ),
    (
        "{PER} and {PER2} got married in {TOWN} {time}.",
        "{PER} und {PER2} haben {time} in {TOWN:dat} geheiratet.",
        "{PER} y {PER2} se casaron {time} en {TOWN}.",
        "{PER} en {PER2} zijn {time} in {TOWN} getrouwd.",
        "{PER}和{PER2}{time}在{TOWN}结婚了。",
    ),
    (
        "I called {PER} {time}, but {PER} was not at home.",
        "{time} habe ich {PER} angerufen, aber {PER} war nicht zu Hause.",
        "Llamé a {PER} {time}, pero {PER} no estaba en casa.",
        "Ik heb {PER} {time} gebeld, maar {PER} was niet thuis.",
        "我{time}给{PER}打了电话，但{PER}不在家。",
    ),
    (
        "In {TOWN}, everybody loves {TOWN}.",
        "In {TOWN:dat} lieben alle {TOWN:acc}.",
        "En {TOWN}, todos aman {TOWN}.",
        "In {TOWN} houdt iedereen van {TOWN}.",
        "在{TOWN}，人人都爱{TOWN}。",
    ),
    (
        "Is {PACT} older than {EVENT}?",
        "Ist {EVENT} jünger als {PACT}?",
        "¿Es {PACT} más antiguo que {EVENT}?",
        "Is {EVENT} jonger dan {PACT}?",
        "{PACT}比{EVENT}更早吗？",
    ),
    (
        "My brother wants to learn {TONGUE} {soon}.",
        "{soon} will mein Bruder {TONGUE} lernen.",
        "{soon}, mi hermano quiere aprender {TONGUE}.",
        "{soon} wil mijn broer {TONGUE} leren.",
        "我哥哥{soon}想学{TONGUE}。",
    ),
    (
        "Why does {PER} need {thing}?",
        "Warum braucht {PER} {thing}?",
        "¿Por qué necesita {PER} {thing}?",
        "Waarom heeft {PER} {thing} nodig?",
        "{PER}为什么需要{thing}？",
    ),
    (
        "I heard about {ORG} {time}.",
        "Ich habe {time} von {ORG:dat} gehört.",
        "{time} oí hablar de {ORG}.",
        "Ik heb {time} over {ORG} gehoord.",
        "我{time}听说了{ORG}。",
    ),
)

NEWS_WITHOUT_NAMES: tuple[tuple[str, ...], ...] = (
    (
        "Parliament discussed {topic} {time}.",
        "Das Parlament hat {time} über {topic} beraten.",
        "El parlamento debatió {topic} {time}.",
        "Het parlement heeft {time} over {topic} gesproken.",
        "议会{time}讨论了{topic}。",
    ),
    (
        "Experts expect {number} factories with less {product} {soon}.",
        "Fachleute erwarten {soon} {number} Fabriken mit weniger {product}.",
        "Los expertos esperan {soon} {number} fábricas con menos {product}.",
        "Deskundigen verwachten {soon} {number} fabrieken met minder {product}.",
        "专家预计{soon}有{number}家工厂的{product}会减少。",
    ),
    (
        "The government opened {building} and {building2} {time}.",
        "Die Regierung hat {time} {building} und {building2} eröffnet.",
        "El gobierno abrió {time} {building} y {building2}.",
        "De regering heeft {time} {building} en {building2} geopend.",
        "政府{time}开设了{building}和{building2}。",
    ),
    (
        "Police arrested {number} {staff} {time}.",
        "Die Polizei hat {time} {number} {staff} festgenommen.",
        "La policía detuvo {time} a {number} {staff}.",
        "De politie heeft {time} {number} {staff} aangehouden.",
        "警方{time}逮捕了{number}名{staff}。",
    ),
    (
        "The company needs {number} {staff} and {number2} {staff2} for {topic}.",
        "Die Firma braucht für {topic} {number} {staff} und {number2} {staff2}.",
        "La empresa necesita {number} {staff} y {number2} {staff2} para {topic}.",
        "Het bedrijf heeft voor {topic} {number} {staff} en {number2} {staff2} nodig.",
        "公司的{topic}需要{number}名{staff}和{number2}名{staff2}。",
    ),
)

TALKS_WITHOUT_NAMES: tuple[tuple[str, ...], ...] = (
    (
        "I bought {thing} and {thing2} {time}.",
        "Ich habe {time} {thing} und {thing2} gekauft.",
        "{time} compré {thing} y {thing2}.",
        "Ik heb {time} {thing} en {thing2} gekocht.",
        "我{time}买了{thing}和{thing2}。",
    ),
    (
        "Can you bring me {thing} {soon}?",
        "Kannst du mir {soon} {thing} bringen?",
        "¿Puedes traerme {thing} {soon}?",
        "Kun je me {soon} {thing} brengen?",
        "你能{soon}给我带{thing}来吗？",
    ),
    (
        "{number} {staff} did not want to talk about {topic}.",
        "{number} {staff} wollten nicht über {topic} sprechen.",
        "{number} {staff} no querían hablar sobre {topic}.",
        "{number} {staff} wilden niet over {topic} praten.",
        "{number}名{staff}不想谈{topic}。",
    ),
    (
        "My brother is {job} and has {thing}.",
        "Mein Bruder ist {job} und hat {thing}.",
        "Mi hermano es {job} y tiene {thing}.",
        "Mijn broer is {job} en heeft {thing}.",
        "我哥哥是{job}，他有{thing}。",
    ),
    (
        "The weather was {weather} {time}, and we talked about {topic}.",
        "Das Wetter war {time} {weather}, und wir haben über {topic} geredet.",
        "El tiempo fue {weather} {time}, y hablamos sobre {topic}.",
        "Het weer was {time} {weather}, en we hebben over {topic} gepraat.",
        "{time}天气{weather}，我们谈了{topic}。",
    ),
)

# What may stand around a sentence (at §) of each corpus: a dateline, a speaker.
DATELINE = (
    "{TOWN9:bare} ({ACRO9:bare}) – §",
    "{TOWN9:bare} ({ACRO9:bare}) – §",
    "{TOWN9:bare} ({ACRO9:bare}) – §",
    "{TOWN9:bare} ({ACRO9:bare}) – §",
    "{TOWN9:bare}（{ACRO9:bare}）——§",
)
SPEAKER = (
    '{PER9:bare}: "§"',
    "{PER9:bare}: „§“",
    "{PER9:bare}: «§»",
    '{PER9:bare}: "§"',
    "{PER9:bare}：“§”",
)
