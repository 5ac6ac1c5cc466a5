"""The words before a number that say what it is; knows nothing of the number itself."""

import re
from functools import lru_cache

# What may stand between a word and its number: signs, and words that add nothing
_ADDS_NOTHING = (
    r"is|are|was|at|on|to|or|and|me|us|him|her|them|my|his|our|your|the|by|ist|lautet|unter|mich|uns|die|der|oder|"
    r"und|est|le|la|au|ou|et|es|el|al|o|y|mi|su|è|il|mio|op|of|het|en|pod|nr|n[oº°]|num[eé]ro|número|nummer|numer|po|"
    r"para|ao|em|jest|seria|pod|de contact[eo]?"
)
_LINK = (
    r"(?:[\s:=.,;#\"'`()\[\]{}*|/_&+\-：，。；、（）【】“”]|numbers?|nums?|no|nr|id|code|card|value|mobile|home|work|"
    r"office|cell|direct|main|line|phone|tel|fax|toll|free|是|为|號碼?|号码?|码|请|打|我|的|个人|工作|办公|家庭|"
    rf"(?<![A-Za-z])(?:{_ADDS_NOTHING})(?![A-Za-z])){{0,16}}"
)
# Whose number it is: "of Ada Ray:", "(office)"
_WHOSE = (
    r"(?:(?: (?:of|for|de|del|di|von|van|da|do|für|pour|para))?(?: ?[A-ZÀ-Þ][\w'’.-]{1,20}){1,2}"
    r"(?: ?(?:de|van|von|di|da|del)? ?[A-ZÀ-Þ][\w'’.-]{1,20})? ?[:：]\s?|\s?\([^()<>\d]{1,24}\)[\s:：]{0,3})?"
)
# After these, digits are somebody's number of something else
_OTHER = (
    r"orders?|invoice|tracking|serial|sku|parts?|model|isbn(?:-1[03])?|issn|imei|ticket|transaction|txn|trx|product|"
    r"item|batch|lot|catalog(?:ue)?|patent|version|build|timestamp|barcode|ean|upc|gtin|uuid|hash|sha|md5|bug|issue|"
    r"docket|p/n|s/n|case(?= ?(?:no|num|id|#|:))|article|shipment|parcel|receipt|confirmation|booking|policy|seed|"
    r"rng|default_rng|random_state|bytes|size|memory|订单|单号|编号|运单|快递|流水|序列|发票|型号|条码|条形码|合同|"
    r"物流|交易|商品|版本|货号|批号|QQ群?|ISBN|专利"
)
_OTHER_FOR_PHONES = (
    _OTHER
    + r"|id|uid|account|acct|zip|case|ref|réf|reference|fraction|commit|merge|claim|po(?= ?(?:#|no|num))|(?-i:PO|Nr)|"
    r"licen[cs]e|permit|loan|badge|member(?:ship)?|(?:employee|student|customer|client|user) (?:id|no|number)|charge|"
    r"modell|az|rma|form|voucher|coupon|contract|quote|waybill|awb|pnr|subscription|prescription|rx|mrn|npi|folio|"
    r"certificate|passport|registration|device|plate|locker|amount|price|total|qty|quantity|count|balance|金额|数量|"
    r"单价|总价|价格|资本|余额|成交额|营收|人口|销量|[读放击览]量|drawing|dwg|art|asset|job|vin|mask|pattern|format|"
    r"loto|lotto|lottery|tirage|sorteo|superzahl|(?:rechnungs?|kunden|bestell|auftrags?|artikel|vertrags?|serien|"
    r"vorgangs?|sendungs?|konto|steuer|mitglieds?|akten)"
    r"[- ]?(?:nummern?|nr|id|zeichen)|rechnung|auftrag|facture|commande|dossier|factura|pedido|fattura|ordine|"
    r"bestel(?:ling|nummer)|factuur|encomenda|fatura|zamówienie|faktura|заказ|счёт|账号|帐号|账户|卡号|邮编|工号|"
    r"学号|群号|工单|(?:证|单|税|案|合同|执照|车架|发动机|会员|档案|文)号|证书|证件|取件码|验证码|任务|批次"
)


def _pattern(words: str, link: str = _LINK, whose: str = "") -> re.Pattern[str]:
    return re.compile(
        rf"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))(?i:{words})s?(?:_?[1-9])?(?i:{link}){whose}(?:(?<!/)|(?<=wa\.me/))\Z"
    )


_SAYS_OTHER = r"(?:[^0-9A-Za-z<>]|number|num|no|id|code|nr|n(?=[°º])|号|码){0,12}"
OTHER = _pattern(_OTHER, _SAYS_OTHER)
OTHER_FOR_PHONES = _pattern(_OTHER_FOR_PHONES, _SAYS_OTHER.replace("<>", r"<>\n"))

PHONE = _pattern(
    r"tel|tél|telephone|phone|telefone?|telefonn?[oy]|teléfono|téléphone|telefoon(?:nummer)?|telefonnummer|telefonu|"
    r"(?<!-)ph(?=[ .:])|mobile|mob|cell|cellphone|cellular|cellulare|handy(?:nummer)?|móvil|celular|mobil|mobiel|fax|"
    r"hotline|voice ?mail|whatsapp|wa\.me|tlf|tfno|rufnummer|durchwahl|festnetz|portable|natel|gsm|telemóvel|komórka|"
    r"kom|(?:my|his|her|our|your|their|contact|emergency) (?:\w{2,9} )?(?:number|no)|meine nummer|mon num(?:éro)?|"
    r"mi número|il mio numero|mijn nummer|mój numer|(?:o )?meu número|тел|телефон[ау]?|моб|мобильный|"
    r"电话|手机|座机|固话|联系方式|传真|热线|熱線|移动电话|手机号|联系号码|總機|总机|來電|電話|手機|傳真|手提|携帯|전화|휴대폰|핸드폰|연락처",
    whose=_WHOSE,
)
# Who is called: "Ada Ray on"
_WHOM = r"(?:(?: ?[A-ZÀ-Þ][\w'’.-]{1,20}){1,2}(?: (?:on|at|@|unter|under|au|al|op)|:)? ?)?"
CALL = _pattern(
    r"call|calling|text (?:me|us|him|her|them)|txt|sms|dial|reach|contact|ring|wechat|weixin|vx|ll[aá]m[ae](?:r|me|"
    r"nos)?|appelez(?:-moi)?|appeler|joindre|contacter|anruf(?:en)?|ruf(?:en sie)?|erreich\w*|chiam(?:a|ami|are|ate)|"
    r"bel(?: me| ons)?|bellen|app me|(?:za)?dzwoni[ćc]?|zadzwoń|dzwoń|lig(?:ar|ue)|fale|звоните|"
    r"联系人?|致电|拨打?|打给?|来电|咨询|客服|微信|聯絡|聯繫|查[詢询]|諮詢|致電",
    whose=_WHOM,
)
CARD = _pattern(r"card|visa|mastercard|amex|credit|debit|pan|银行卡|信用卡|卡号|储蓄卡|账号|帐号")
CN_ID = _pattern(r"身份证|身份證|证件|證件|公民身份|居民|resident id|identity|id")
SSN = _pattern(r"ssn|social security|social|soc sec")
CPF = _pattern(r"cpf(?:/mf)?")
AADHAAR = _pattern(r"aadhaar|aadhar|adhaar|uidai|uid|आधार")
NINO = _pattern(r"nino|national insurance|ni|n\.i\.|insurance")
BSN = _pattern(r"bsn|burgerservicenummer|sofi-?nummer|sofi")
DNI = _pattern(r"dni|nie|nif|documento")
# What the numbers are called, where it need not stand right before them
NAMES = {
    kind: re.compile(rf"(?<![A-Za-z])(?:{names})(?![a-z])", re.IGNORECASE)
    for kind, names in {
        "cn_id": "身份证|身份證|公民身份|resident id",
        "us_ssn": r"ssn|social security|soc(?:ial|\.)? sec",
        "br_cpf": "cpf",
        "in_aadhaar": "aadhaar|aadhar|adhaar|आधार",
        "uk_nino": "nino|ni (?:number|no)|national insurance",
        "nl_bsn": "bsn|burgerservicenummer|sofi-?nummer|citizen service (?:number|no)|digid",
        "es_dni": "dni|nie|nif",
    }.items()
}
IP = _pattern(
    r"ip|ipv4|ipv6|ip4|ip6|inet6?|ip[- ]addr(?:ess)?|addr(?:ess)?|host|hostname|server|ping|dns|gateway|nameserver|"
    r"client|(?<!grade )(?<!graded )(?<!update )(?<!updated )from|src|dst|peer|remote|router|resolver|route|"
    r"ban(?:ned)?|unban|block(?:ed)?|deny|allow|-s|-d|broadcast|upstream|listen(?:ing)?|bind|connect(?:ed|ing)?|"
    r"forwarded-for|real-ip|desde|vanaf|depuis|adresse|dirección|indirizzo|endereço|адрес|地址|服务器|主机|网关|来自|"
    r"登录|访问|解析到|代理"
)
VERSION = _pattern(
    r"versions?|ver|v|fw|sw|hw|os|sdk|jdk|api|fixed in|backported|changelog|introduced in|shipped|releases?|released|"
    r"rev|revisions?|build|firmware|driver|sections?|sec|chapter|figure|fig|table|clause|paragraph|appendix|annex|"
    r"upgrade|upgraded|update|updated|downgrade|patch|hotfix|kernel|bios|oid|"
    r"branch|tag|see|see also|versione|versão|versões|versión|versie|"
    r"wersj[aięe]|verzia|версия|версии|sürüm|バージョン|버전|kapitel|abschnitt|"
    r"cap[ií]tulo|capitolo|chapitre|sección|rozdział|版本号?|固件|章节|第|升级到?|更新到?|驱动|内核|旧版本?|新版本?",
    r"(?:[\s:=.,#\"'()\-：（）]|number|no|id|is|to|for|in|with|from|since|before|after|prior|than|and|or|=|是|为|号|"
    r"到|"
    r"从){0,10}",
)
NETWORK = re.compile(
    r"(?<![A-Za-z])(?:ipv?[46]?|tcp6?|udp6?|icmp\w*|ssh[d2]?|https?|dns|dhcp|vpn|nat|vlan|subnet|netmask|firewall|"
    r"iptables|ports?|hosts?|hostname|servers?|gateway|router|hop|peer|proxy|client|login|logged|traffic|packets?|"
    r"connect(?:ed|ions?|ing)?|ping|ms|ttl|a record|in a|AAAA|GET|POST|ban|banned|blocked|attack\w*|nmap|whois|"
    r"telnet|curl|wget)(?![A-Za-z])|"
    r"服务器|登录|端口|地址|访问|攻击|封禁|请求|网关|代理|解析|主机|拦截",
    re.IGNORECASE,
)
VERSIONED = re.compile(
    r"(?<![A-Za-z])(?:versions?|releases?d?|firmware|upgrade\w*|install\w*|updated?|vers\w{1,3}|wersj\w|branch(?:es)?|"
    r"sprint|changelog|backport\w*)(?![A-Za-z])|(?<![\w.])\d+\.(?:\d+\.)?x(?!\w)|"
    r"版本|"
    r"固件|升级",
    re.IGNORECASE,
)
# What an address follows in a list: 10.1.2.3, 10.1.2.4 and 10.1.2.5
LAST_IN_LIST = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}[\"']?(?:[:/]\d{1,5})?"
    r"(?:[,;/|]? ?[\"']?|[ ,]+(?:and|or|to|und|y|et|和|或|到|至) ?|-)\Z"
)
# What stands between the numbers of a list
JOINT = re.compile(
    r"(?: ?[,;/|、，] ?| (?:or|and|oder|und|ou|et|o|y|oppure|e|of|en|lub|i|,)(?: (?:at|al|unter|op|au))?"
    r"(?: fijo| fixe| fisso| vast)? |[或和])[(+]{0,2}\Z"
)
# What counts things of any kind
NUMBERED = re.compile(r"(?:#|№|(?<![A-Za-z])(?:[Nn]o|NO|[Nn]r|[Nn][º°])\.?)\s?\Z")
_WORD_END = re.compile(r"(?:[^\W\d]|[A-Za-z\u4e00-\u9fff][-_]?[1-9]0?)[^0-9A-Za-z\u4e00-\u9fff]{0,12}\Z")
# The rest of a DOI or UUID, a term of a sum, an argument of a call
IN_IDENTIFIER = re.compile(
    r"10\.\d{4,9}/\S*\Z|(?<![0-9A-Za-z])[0-9a-f]{4}-\Z|arxiv\S*\Z|\w\s?[+*^]\s?\Z|(?:[0-9A-Za-z][._][A-Za-z_]\w*|"
    r"[a-z][A-Z]\w*)\(\Z"
)
EMAIL = _pattern(r"e-?mail|mail|contact|reach|write|邮箱|邮件")


@lru_cache(4096)  # several detectors ask of one number
def _start(before: str, said: re.Pattern[str]) -> int:
    """Where what is said at the end begins; -1 when it is not."""
    match = said.search(before)
    return -1 if match is None else match.start()


def nearest(before: str, wanted: re.Pattern[str], other: re.Pattern[str] = OTHER) -> int:
    """What the words just before a number say: 1 what is wanted, -1 something else, 0 nothing."""
    if not _WORD_END.search(before):  # in a row of numbers, and most often
        return 0
    yes, no = _start(before, wanted), _start(before, other)
    return 0 if yes == no < 0 else 1 if yes >= no else -1
