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
    "com org net edu gov mil int arpa biz info name pro aero asia cat coop jobs mobi museum post tel travel xxx "
    "app dev page blog shop store online site website tech cloud digital email agency company consulting group "
    "team work life live love world today news media studio design art music games game fun club social network "
    "systems solutions services support center academy education school university college institute foundation "
    "ngo health care clinic dental doctor hospital bank finance financial money capital fund ventures partners "
    "legal law lawyer attorney engineering engineer software computer technology science space energy green eco "
    "house homes realty estate properties land london paris berlin hamburg koeln wien nyc tokyo quebec scot wales "
    "cymru vip xyz top icu link click one run zone plus expert guru ninja rocks wtf example test invalid google "
    "apple microsoft photo photography gallery pictures video film radio press pub wiki family church bio city "
    "town"
)
# Of networks within a house
_LOCAL = "local localdomain internal intranet lan corp"
_CHINESE = "中国 公司 网络 网址 香港 台湾 中國 公益 商城"
_COMMON = "com org net edu gov io co uk de fr cn eu us ca au jp in info me ai dev"

CHINESE = tuple(_CHINESE.split())
TOP_LEVEL = frozenset([*_COUNTRIES.split(), *_GENERIC.split(), *_LOCAL.split(), *CHINESE])
COMMON = frozenset(_COMMON.split())
