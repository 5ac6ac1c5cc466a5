"""Top-level domains, which tell an e-mail address from other text with an @; the words are IANA's root zone's."""

_COUNTRIES = (
    "ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bv bw by bz "
    "ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm "
    "fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is "
    "it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm "
    "mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr "
    "ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sj sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg "
    "th tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw"
)
# Of more than a thousand generic ones, those in wide use, and those reserved for examples
_GENERIC = (
    "academy accountants aero africa agency amsterdam analytics app apple arpa art asia attorney audio auto band "
    "bank bar barcelona bayern beauty beer berlin bike bio biz blog boutique brussels build builders business bzh "
    "cafe camera capital car care careers cars cash cat center chat church city click clinic clothing cloud club "
    "codes coffee college com community company computer construction consulting coop courses credit cruises cymru "
    "data degree dental dentist design dev digital doctor dog domains eco edu education email energy engineer "
    "engineering enterprises estate eus events example expert family farm fashion film finance financial fit "
    "fitness flights flowers football forum foundation fun fund gal gallery game games garden gift gifts global "
    "gmbh golf google gov graphics green group guru hamburg health healthcare holdings holiday homes horse "
    "hospital host hosting hotel hotels house icu inc industries info institute insurance int international "
    "invalid investments ist istanbul jobs kids koeln land law lawyer legal life link live llc loans london love "
    "ltd madrid management market marketing markets media melbourne microsoft mil mobi moe money moscow museum "
    "music name net network news ngo ninja nyc one online org page paris partners pet pharmacy phd photo "
    "photography photos pictures pizza plus post press pro productions properties pub quebec radio realty "
    "restaurant rocks roma ruhr run saarland salon school science scot services shoes shop show site social "
    "software solutions spa space store stream studio support surgery sydney systems tax taxi team tech technology "
    "tel tennis test theater tickets today tokyo top tours town toys trade trading training travel university "
    "vacations ventures vet video villas vip wales website wedding wien wiki wine work world wtf xxx xyz yoga zone"
)
# Of networks within a house
_LOCAL = "local localdomain internal intranet lan corp"
_CHINESE = "中国 公司 网络 网址 香港 台湾 中國 公益 商城"
_COMMON = "com org net edu gov io co uk de fr cn eu us ca au jp in info me ai dev"

CHINESE = tuple(_CHINESE.split())
_TOP_LEVEL = frozenset([*_COUNTRIES.split(), *_GENERIC.split(), *_LOCAL.split(), *CHINESE])
COMMON = frozenset(_COMMON.split())


def is_top_level(label: str) -> bool:
    """Whether it is one of them, in ASCII (xn--) too."""
    return label.lower() in _TOP_LEVEL or label.lower().startswith("xn--")
